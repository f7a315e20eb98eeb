use std::path::PathBuf;

use super::super::{Part, RolledBack, Step, When};
use super::*;

/// A site of these records, oldest first; each is as good as one can be.
struct Site {
    place: Place,
    _dir: tempfile::TempDir,
    count: i64,
}

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path(), "www");
        fs::create_dir_all(place.records()).unwrap();
        Site { place, _dir: dir, count: 0 }
    }

    /// One more, live since it was made; its name.
    fn add(&mut self, reference: &str, revision: &Revision, change: impl FnOnce(&mut Record)) -> ReleaseName {
        self.count += 1;
        let when = When(jiff::Timestamp::from_second(1_770_000_000 + self.count).unwrap());
        let mut record = Record {
            release: ReleaseName::new(when.0, revision),
            reference: reference.to_owned(),
            commit: Some(revision.id()),
            parts: if let Revision::Farm(parts) = revision { parts.clone() } else { Vec::new() },
            previous: None,
            who: "ann".to_owned(),
            request_id: String::new(),
            state: State::Live,
            failed_at: None,
            why: None,
            begun: when,
            first_live: Some(when),
            live_since: Some(when),
            left: None,
            rolled_back: None,
            staged_until: None,
            unfinished: false,
            files: 0,
            bytes: 0,
        };
        change(&mut record);
        let folder = self.place.release(&record.release);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("REVISION"), revision.text()).unwrap();
        let json = self.place.records().join(format!("{}.json", record.release));
        fs::write(json, serde_json::to_vec(&record).unwrap()).unwrap();
        record.release
    }

    fn meant(&self, current: &ReleaseName, word: &str) -> Result<ReleaseName, String> {
        self.place.meant(current, &word.parse().unwrap()).map_err(|error| error.to_string())
    }
}

fn commit(digit: &str) -> Revision {
    Revision::Commit(digit.repeat(40).parse().unwrap())
}

fn rolled_back(record: &mut Record) {
    record.rolled_back =
        Some(RolledBack { by: "ann".to_owned(), at: record.begun, to: "20200101000000-aaaaaaa".parse().unwrap() });
}

fn failed(record: &mut Record) {
    (record.state, record.failed_at) = (State::Failed, Some(Step::PostDeploy));
}

#[test]
fn a_word_from_outside_is_a_name_and_no_path() {
    for word in ["v7", "tags/v7", "lib=v2", "app=v1 lib=v2", "branches/2012/summer sale", "r12", "a..b", "é@{1}"] {
        assert_eq!(word.parse::<Target>().unwrap().to_string(), word);
    }
    let long = "a".repeat(2049);
    for word in [
        "",
        ".",
        "..",
        "../x",
        "a/../../etc",
        "/etc/passwd",
        "a//b",
        "a/",
        "a/.",
        "-v7",
        " v7",
        "v7 ",
        "v7\n",
        "v\u{1b}[m",
        "v\0",
        "v\u{85}7",
        &long,
    ] {
        assert!(word.parse::<Target>().is_err(), "{word:?}");
    }
    assert_eq!("v\u{202e}7".parse::<Target>().unwrap().to_string(), "v\\u{202e}7", "it goes into logs");
}

#[test]
fn of_several_the_newest_that_is_good_and_what_is_live_before_any() {
    let mut site = Site::new();
    let first = site.add("v7", &commit("a"), |_| {});
    let second = site.add("v7", &commit("a"), |_| {});
    let back = site.add("v7", &commit("b"), rolled_back);
    site.add("v7", &commit("c"), failed);
    site.add("v7", &commit("d"), |record| record.state = State::Ready);
    let gone = site.add("v7", &commit("e"), |_| {});
    fs::remove_file(site.place.release(&gone).join("REVISION")).unwrap();
    let v8 = site.add("v8", &commit("f"), rolled_back);
    let live = site.add("v9", &commit("1"), |_| {});

    assert_eq!(site.meant(&live, "v7"), Ok(second.clone()));
    assert_eq!(site.meant(&live, "v8"), Ok(v8.clone()), "by name also what was rolled back from");
    assert_eq!(site.meant(&first, "v7"), Ok(first.clone()), "it is served already");
    assert_eq!(site.meant(&live, back.as_str()), Ok(back.clone()), "a release's own name says which");
    for (word, release) in [("bbbbbbb", &back), (&"A".repeat(40), &second), ("ffffffff", &v8), ("1111111", &live)] {
        assert_eq!(site.meant(&live, word), Ok(release.clone()), "{word}");
    }
    for word in ["v6", "bbbbbb", "ccccccc", "ddddddd", "eeeeeee", "20200101000000-aaaaaaa", "V7", "v7~1", "v"] {
        let why = site.meant(&live, word).unwrap_err();
        let known = format!(
            "there is no release {word} here, and none that was live and is good was deployed as that: there are v7 (aaaaaaa, \
             release {second}), v7 (aaaaaaa, release {first}), v8 (fffffff, release {v8}), v7 (bbbbbbb, release {back})"
        );
        assert_eq!(why, known);
    }
}

#[test]
fn digits_are_a_tag_first_and_never_two_commits() {
    let mut site = Site::new();
    let tagged = site.add("abcdef0", &commit("a"), |_| {});
    let [one, two] = ["1", "2"].map(|end| Revision::Commit(format!("abcdef0{}", end.repeat(33)).parse().unwrap()));
    let one = site.add("one", &one, |_| {});
    site.add("two", &two, |_| {});
    let live = site.add("v9", &commit("9"), |_| {});
    assert_eq!(site.meant(&live, "abcdef0"), Ok(tagged));
    assert_eq!(site.meant(&live, "abcdef01"), Ok(one));
    fs::remove_dir_all(site.place.release(&site.meant(&live, "abcdef0").unwrap())).unwrap();
    let why = site.meant(&live, "abcdef0").unwrap_err();
    assert!(why.starts_with("several commits begin with abcdef0: abcdef01"), "{why}");
}

#[test]
fn subversion_and_farms_are_meant_as_they_were_asked_for() {
    let mut site = Site::new();
    let tag = site.add("tags/v7", &Revision::Svn(12), |_| {});
    let number = site.add("20", &Revision::Svn(19), |_| {});
    let part = |repo: &str, reference: &str, digit: &str| Part {
        repo: repo.parse().unwrap(),
        reference: reference.to_owned(),
        commit: digit.repeat(40).parse().unwrap(),
        target: PathBuf::from(repo),
        tree: None,
    };
    let farm = Revision::Farm(vec![part("app", "v1", "a"), part("lib", "v2", "b")]);
    let both = site.add("app=v1 lib=v2", &farm, |_| {});
    let farm = Revision::Farm(vec![part("app", "v3", "c"), part("lib", "v2", "b")]);
    let app = site.add("app=v3", &farm, |_| {});
    let live = site.add("v9", &commit("9"), |_| {});
    for (word, release) in [
        ("tags/v7", &tag),
        ("r12", &tag),
        ("r20", &number),
        ("20", &number),
        ("19", &number),
        ("lib=v2", &both),
        ("lib=v2 app=v1", &both),
        ("app=v3", &app),
        ("bbbbbbb", &both),
    ] {
        assert_eq!(site.meant(&live, word), Ok(release.clone()), "{word}");
    }
    for word in ["v7", "12x", "r", "lib=v2 app=v3", "lib=v1", "v2"] {
        assert!(site.meant(&live, word).is_err(), "{word}");
    }
}

#[test]
fn in_place_only_records_are_looked_at() {
    let mut site = Site::new();
    let old = site.add("v7", &commit("a"), |_| {});
    let live = site.add("v9", &commit("9"), |_| {});
    let releases = site.place.root.join("releases");
    fs::rename(releases.join(live.as_str()), site.place.current_link()).unwrap();
    fs::remove_dir_all(releases).unwrap();
    site.place = Place::in_place(&site.place.root, "www");
    assert_eq!(site.meant(&live, "v7"), Ok(old));
    assert!(site.meant(&live, "v8").is_err());
}
