//! Whether a node's clock is another than this machine's: by when it says that it answered.

use jiff::{SignedDuration, Timestamp, Unit};

use crate::name::NodeName;

/// Clocks that are closer do no harm: nodes take what is given a minute from now, or a minute ago.
const NEAR: SignedDuration = SignedDuration::from_secs(30);

/// For people, if `node` can't have answered at `time`: it was asked at `asked`, and heard by `heard`.
pub fn apart(node: &NodeName, time: Timestamp, asked: Timestamp, heard: Timestamp) -> Option<String> {
    let (ahead, behind) = (time.duration_since(heard), asked.duration_since(time));
    let (by, how) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
    (by > NEAR).then(|| {
        format!(
            "the clock of {node} is {} s {how} this machine's: set the one that is wrong; over 60 s, a plan is refused",
            by.round(Unit::Second).unwrap_or(by).as_secs()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_question_and_answer_is_in_time() {
        let node: NodeName = "web01".parse().unwrap();
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let said = |seconds| apart(&node, at(seconds), at(0), at(100));
        for seconds in [-30, 0, 50, 100, 130] {
            assert_eq!(said(seconds), None, "{seconds}");
        }
        let ahead = said(7300).unwrap();
        assert!(ahead.starts_with("the clock of web01 is 7200 s ahead of this machine's: "), "{ahead}");
        assert!(said(-31).unwrap().starts_with("the clock of web01 is 31 s behind this machine's: "));
        // One that was set back while it was waited for.
        assert!(apart(&node, at(0), at(3600), at(10)).unwrap().contains(" 3600 s behind "));
    }
}
