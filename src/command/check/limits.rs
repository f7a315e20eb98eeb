//! From when on something warns, and from when on it fails.

use std::str::FromStr;
use std::time::Duration;

use crate::config::{parse_duration, parse_size};

/// `WARN,FAIL`, either may be `off`; one word is both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits<T> {
    pub(super) warn: Option<T>,
    pub(super) fail: Option<T>,
}

fn parse<T: Copy>(text: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Limits<T>, String> {
    let one = |word: &str| if word.trim() == "off" { Ok(None) } else { one(word.trim()).map(Some) };
    match text.split_once(',') {
        Some((warn, fail)) => Ok(Limits { warn: one(warn)?, fail: one(fail)? }),
        None => one(text).map(|both| Limits { warn: both, fail: both }),
    }
}

impl FromStr for Limits<Duration> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, parse_duration)
    }
}

impl FromStr for Limits<Room> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, |word| match word.strip_suffix('%').map(str::parse::<f64>) {
            Some(Ok(percent)) if (0.0..=100.0).contains(&percent) => Ok(Room::Percent(percent)),
            Some(_) => Err(format!("{word:?} is no part of a whole: write one from 0% to 100%")),
            None => parse_size(word).map(Room::Octets),
        })
    }
}

/// How much room there must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Room {
    Percent(f64),
    Octets(u64),
    /// Whichever is less: a small disk is not full for being small, nor a big one for having a part of it left.
    Lesser(f64, u64),
}

impl Room {
    /// In octets, of that many.
    pub(super) fn of(self, total: u64) -> u64 {
        let part = |percent: f64| (total as f64 * percent / 100.0) as u64;
        match self {
            Room::Percent(percent) => part(percent),
            Room::Octets(octets) => octets,
            Room::Lesser(percent, octets) => part(percent).min(octets),
        }
    }
}

/// What free space is compared to when nobody says.
pub(super) const ROOM: Limits<Room> =
    Limits { warn: Some(Room::Lesser(5.0, 1 << 30)), fail: Some(Room::Lesser(1.0, 100 << 20)) };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_words_one_word_and_off() {
        let limits: Limits<Duration> = "5m,1h".parse().unwrap();
        assert_eq!((limits.warn, limits.fail), (Some(Duration::from_secs(300)), Some(Duration::from_secs(3600))));
        assert_eq!("off".parse::<Limits<Duration>>().unwrap(), Limits { warn: None, fail: None });
        assert_eq!("off, 2h".parse::<Limits<Duration>>().unwrap().fail, Some(Duration::from_secs(7200)));
        let room: Limits<Room> = "10%,100MiB".parse().unwrap();
        assert_eq!((room.warn, room.fail), (Some(Room::Percent(10.0)), Some(Room::Octets(100 << 20))));
        for word in ["", "5", "1h,2h,3h", "110%", "-1%", "x%"] {
            assert!(word.parse::<Limits<Duration>>().is_err() && (word == "5" || word.parse::<Limits<Room>>().is_err()), "{word}");
        }
    }

    #[test]
    fn the_lesser_of_a_part_and_so_many_octets() {
        let warn = ROOM.warn.unwrap();
        assert_eq!((warn.of(10 << 30), warn.of(10 << 40)), (512 << 20, 1 << 30));
    }
}
