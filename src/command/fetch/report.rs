//! What became of one look at a repository, in the words of each who wants to know.

use crate::git::Error;
use crate::git::remote::{Change, Updated};
use crate::name::{RefKind, RepoName};

/// References told one by one; more of them are counted.
const LINES_MAX: usize = 20;

/// What became of it.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) repo: RepoName,
    pub(super) result: Result<Updated, Error>,
}

impl Report {
    /// What changed, line by line; nothing when nothing did.
    pub(super) fn lines(&self) -> Vec<String> {
        match &self.result {
            Err(error) => vec![format!("problem: [{}] {error}", self.repo)],
            Ok(Updated { cloned: true, changes }) => {
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

    /// To stdout, problems to stderr. With `always`, that nothing changed is told too.
    pub(super) fn print(&self, json: bool, always: bool) {
        if json {
            say(&mut std::io::stdout(), &self.json().to_string());
        }
        match &self.result {
            Err(_) => self.lines().iter().for_each(|line| say(&mut std::io::stderr(), &format!("failcake: {line}"))),
            Ok(_) if json => {}
            Ok(updated) if always && !updated.cloned && updated.changes.is_empty() => {
                say(&mut std::io::stdout(), &format!("unchanged: [{}]", self.repo));
            }
            Ok(_) => self.lines().iter().for_each(|line| say(&mut std::io::stdout(), line)),
        }
    }

    fn json(&self) -> serde_json::Value {
        match &self.result {
            Err(error) => serde_json::json!({ "repo": self.repo, "ok": false, "error": error.to_string() }),
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
                serde_json::json!({ "repo": self.repo, "ok": true, "cloned": updated.cloned, "changes": changes })
            }
        }
    }
}

/// A line for whoever still reads: a closed pipe ends no watcher.
pub(super) fn say(to: &mut dyn std::io::Write, line: &str) {
    let _ = writeln!(to, "{line}");
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
        Report { repo: "spog".parse().unwrap(), result: Ok(Updated { cloned, changes }) }
    }

    #[test]
    fn changes_are_told_one_by_one_up_to_a_limit() {
        let a = "a".repeat(40);
        assert_eq!(report(false, changes(1)).lines(), [format!("fetched change: [spog] refs/heads/b000 {a}")]);
        let many = report(false, changes(LINES_MAX + 7)).lines();
        assert_eq!(many.len(), LINES_MAX + 1);
        assert_eq!(many[LINES_MAX], "fetched change: [spog] and 7 more refs");
        assert_eq!(report(false, changes(LINES_MAX)).lines().len(), LINES_MAX);
        assert_eq!(report(true, changes(3)).lines(), ["cloned: [spog] 3 branches, 0 tags"]);
        assert!(report(false, changes(0)).lines().is_empty());
    }

    #[test]
    fn a_deletion_says_so() {
        let gone = Change { name: "refs/heads/x".parse().unwrap(), old: "b".repeat(40).parse().ok(), new: None };
        assert_eq!(report(false, vec![gone]).lines(), ["fetched change: [spog] refs/heads/x deleted"]);
    }
}
