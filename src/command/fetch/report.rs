//! What became of one look at a repository, in the words of each who wants to know.

use super::job;
use crate::git::Error;
use crate::git::remote::{Change, Replaced, Updated};
use crate::name::{RefKind, RepoName};
use crate::publish::Outcome;
use crate::watch::say;

/// References told one by one; more of them are counted.
const LINES_MAX: usize = 20;

/// What became of it.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) repo: RepoName,
    pub(super) result: Result<Updated, Error>,
    /// What became of the published directories.
    pub(super) published: Result<Vec<Outcome>, job::Error>,
}

impl Report {
    /// Did all succeed?
    pub(super) fn is_good(&self) -> bool {
        self.result.is_ok() && self.problems().is_empty()
    }

    /// Did it end because failcake was told to stop?
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.result, Err(Error::Stopped)) || self.published.as_ref().is_err_and(job::Error::is_stop)
    }

    /// What went wrong, line by line.
    pub(super) fn problems(&self) -> Vec<String> {
        let tell = |why: &dyn std::fmt::Display| format!("problem: [{}] {why}", self.repo);
        match (&self.result, &self.published) {
            (Err(error), _) => vec![tell(error)],
            (_, Err(error)) => vec![tell(error)],
            (_, Ok(outcomes)) => {
                let problem = |outcome: &Outcome| match outcome {
                    Outcome::Problem(why) | Outcome::Held(why) | Outcome::Lacking { why, .. } => Some(tell(why)),
                    _ => None,
                };
                outcomes.iter().filter_map(problem).collect()
            }
        }
    }

    /// What was published, line by line.
    fn published(&self) -> Vec<String> {
        let repo = &self.repo;
        let line = |outcome: &Outcome| match outcome {
            Outcome::Published { path, reference, commit, .. } => {
                Some(format!("published: [{repo}] {reference} {commit} to {}", path.display()))
            }
            Outcome::Removed { path, reference } => Some(format!("removed: [{repo}] {reference} from {}", path.display())),
            Outcome::Adopted { path, kept } => {
                Some(format!("moved aside: [{repo}] {} to {}", path.display(), kept.display()))
            }
            Outcome::Problem(_) | Outcome::Held(_) | Outcome::Lacking { .. } => None,
        };
        let mut lines: Vec<String> = self.published.iter().flatten().filter_map(line).collect();
        if let Some(more @ 1..) = lines.len().checked_sub(LINES_MAX) {
            lines.truncate(LINES_MAX);
            lines.push(format!("published: [{repo}] and {more} more directories"));
        }
        lines
    }

    /// What was wrong and is mended: told once, and no failure.
    fn mended(&self) -> Option<String> {
        let Replaced { aside, why } = self.result.as_ref().ok()?.replaced.as_ref()?;
        let aside = aside.display();
        Some(format!("set aside: [{}] git could not read the clone ({why}); it is kept as {aside}", self.repo))
    }

    /// What changed, line by line; nothing when nothing did.
    pub(super) fn news(&self) -> Vec<String> {
        [Vec::from_iter(self.mended()), self.fetched(), self.published()].concat()
    }

    fn fetched(&self) -> Vec<String> {
        match &self.result {
            Err(_) => Vec::new(),
            Ok(Updated { cloned: true, changes, .. }) => {
                let count = |kind| changes.iter().filter(|change| change.name.kind() == kind).count();
                let (branches, tags) = (count(RefKind::Branch), count(RefKind::Tag));
                vec![format!("cloned: [{}] {branches} branches, {tags} tags", self.repo)]
            }
            Ok(Updated { changes, .. }) => {
                let mut lines: Vec<String> = changes.iter().take(LINES_MAX).map(|change| self.line(change)).collect();
                if let Some(more @ 1..) = changes.len().checked_sub(LINES_MAX) {
                    lines.push(format!("fetched change: [{}] and {more} more refs", self.repo));
                }
                lines
            }
        }
    }

    fn line(&self, change: &Change) -> String {
        match &change.new {
            Some(new) => format!("fetched change: [{}] {} {new}", self.repo, change.name),
            None => format!("fetched change: [{}] {} deleted", self.repo, change.name),
        }
    }

    /// To stdout, and `problems` to stderr. With `always`, that nothing changed is told too.
    pub(super) fn print(&self, json: bool, always: bool, problems: bool) {
        if json {
            say(&mut std::io::stdout(), &self.json().to_string());
        }
        if !json {
            let news = self.news();
            news.iter().for_each(|line| say(&mut std::io::stdout(), line));
            if always && news.is_empty() && self.is_good() {
                say(&mut std::io::stdout(), &format!("unchanged: [{}]", self.repo));
            }
        }
        if problems {
            self.problems().iter().for_each(|line| say(&mut std::io::stderr(), &format!("failcake: {line}")));
        }
    }

    fn json(&self) -> serde_json::Value {
        let mut json = self.fetched_json();
        let outcome = |outcome: &Outcome| match outcome {
            Outcome::Published { path, reference, commit, previous } => serde_json::json!({
                "published": path, "ref": reference.to_string_lossy(), "commit": commit, "previous": previous,
            }),
            Outcome::Removed { path, reference } => serde_json::json!({ "removed": path, "ref": reference }),
            Outcome::Adopted { path, kept } => serde_json::json!({ "adopted": path, "kept": kept }),
            Outcome::Problem(why) | Outcome::Lacking { why, .. } => serde_json::json!({ "problem": why }),
            Outcome::Held(why) => serde_json::json!({ "problem": why, "held": true }),
        };
        match &self.published {
            Ok(outcomes) if outcomes.is_empty() => {}
            Ok(outcomes) => json["directories"] = outcomes.iter().map(outcome).collect(),
            Err(error) => json["error"] = error.to_string().into(),
        }
        json["ok"] = self.is_good().into();
        json
    }

    fn fetched_json(&self) -> serde_json::Value {
        match &self.result {
            Err(error) => serde_json::json!({ "repo": self.repo, "error": error.to_string() }),
            Ok(updated) => {
                let change = |change: &Change| {
                    let rev = |rev: &Option<crate::name::Rev>| rev.as_ref().map(ToString::to_string);
                    serde_json::json!({
                        "ref": change.name.to_string_lossy(),
                        "old": rev(&change.old),
                        "new": rev(&change.new),
                    })
                };
                let changes: Vec<_> = updated.changes.iter().map(change).collect();
                let set_aside = updated.replaced.as_ref().map(|replaced| &replaced.aside);
                serde_json::json!({
                    "repo": self.repo,
                    "cloned": updated.cloned,
                    "changes": changes,
                    "set_aside": set_aside,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(count: usize) -> Vec<Change> {
        let rev = "a".repeat(40).parse().ok();
        (0..count)
            .map(|n| Change { name: format!("refs/heads/b{n:03}").parse().unwrap(), old: None, new: rev.clone() })
            .collect()
    }

    fn report(cloned: bool, changes: Vec<Change>) -> Report {
        let result = Ok(Updated { cloned, changes, replaced: None });
        Report { repo: "spog".parse().unwrap(), result, published: Ok(Vec::new()) }
    }

    #[test]
    fn changes_are_told_one_by_one_up_to_a_limit() {
        let a = "a".repeat(40);
        assert_eq!(report(false, changes(1)).news(), [format!("fetched change: [spog] refs/heads/b000 {a}")]);
        let many = report(false, changes(LINES_MAX + 7)).news();
        assert_eq!(many.len(), LINES_MAX + 1);
        assert_eq!(many[LINES_MAX], "fetched change: [spog] and 7 more refs");
        assert_eq!(report(false, changes(LINES_MAX)).news().len(), LINES_MAX);
        assert_eq!(report(true, changes(3)).news(), ["cloned: [spog] 3 branches, 0 tags"]);
        assert!(report(false, changes(0)).news().is_empty());
    }

    #[test]
    fn a_deletion_says_so() {
        let gone = Change { name: "refs/heads/x".parse().unwrap(), old: "b".repeat(40).parse().ok(), new: None };
        assert_eq!(report(false, vec![gone]).news(), ["fetched change: [spog] refs/heads/x deleted"]);
    }
}
