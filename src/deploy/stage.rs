//! The files of a release: of the commit, of its submodules, and no LFS pointers in their stead.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use super::{Here, Said, Tell, text};
use crate::config::Repo;
use crate::git::local::Local;
use crate::name::Rev;
use crate::release::{Held, Record};
use crate::tree::{self, Listing};

/// Submodules in submodules in submodules: further down it is a circle.
const DEPTH_MAX: usize = 8;

impl Here<'_> {
    /// Writes the files of `record`'s commit, from the retired tree if there is one.
    pub(super) fn stage(
        &self,
        held: &Held,
        record: &mut Record,
        from_spare: bool,
        tell: Tell<'_>,
    ) -> Result<(), String> {
        let commit = commit_of(record)?;
        let (folder, index) = (held.release(&record.release), held.index(&record.release));
        let mut listing = None;
        if from_spare {
            match tree::renew(&self.clone_of(), &commit, &folder, &index) {
                Ok(renewed) => listing = Some(renewed),
                Err(error) => {
                    tell(Said::Step(&format!("staging in full, because the retired tree is of no use: {error}")));
                    held.begin_again(record).map_err(text)?;
                }
            }
        }
        let listing = match listing {
            Some(listing) => listing,
            None => tree::write(&self.clone_of(), &commit, &folder, &index).map_err(text)?,
        };
        self.complete(held, record, &commit, listing)?;
        tell(Said::Step(&format!("staged {} files", record.files)));
        Ok(())
    }

    /// Adds what git leaves out of a tree, and refuses what it leaves out in silence.
    pub(super) fn complete(
        &self,
        held: &Held,
        record: &mut Record,
        commit: &Rev,
        listing: Listing,
    ) -> Result<(), String> {
        let part = Part { repo: self.repo, clone: self.clone_of(), commit, depth: 0 };
        let folder = held.release(&record.release);
        (record.files, record.bytes) = self.fill(&part, &folder, &held.part_index(&record.release), &listing)?;
        Ok(())
    }

    /// Fills the folders of submodules, from clones on this machine; gives files and bytes of all.
    fn fill(&self, part: &Part<'_>, folder: &Path, index: &Path, listing: &Listing) -> Result<(u64, u64), String> {
        refuse_pointers(&part.clone, folder, listing)?;
        let (mut files, mut bytes) = (listing.files, listing.bytes);
        if listing.submodules.is_empty() {
            return Ok((files, bytes));
        }
        if part.depth == DEPTH_MAX {
            return Err(format!("submodules more than {DEPTH_MAX} deep, at {}", folder.display()));
        }
        let urls = part.clone.submodule_urls(part.commit).map_err(|error| format!("submodules: {error}"))?;
        for (path, commit) in &listing.submodules {
            let name = path.display();
            let url = urls.get(path).ok_or_else(|| format!("submodule {name} has no url in .gitmodules"))?;
            let url = absolute(url, part.repo.url.as_deref().unwrap_or_default());
            let same = |repo: &&Repo| repo.url.as_deref().is_some_and(|known| plain(known) == plain(&url));
            let Some(repo) = self.repos.values().find(same) else {
                return Err(format!(
                    "submodule {name} is of {}, and no repository of `repos:` has that url: add it there, fetch it, and deploy \
                     again",
                    url.escape_debug()
                ));
            };
            let sub = Part { repo, clone: self.clone_at(repo), commit, depth: part.depth + 1 };
            let inside = folder.join(path);
            let listing = tree::fill(&sub.clone, commit, &inside, index).map_err(|error| {
                format!("submodule {name} at {commit}: {error} (`failcake fetch {}` gets what is new)", repo.name)
            })?;
            let (more_files, more_bytes) = self.fill(&sub, &inside, index, &listing)?;
            files += more_files;
            bytes += more_bytes;
        }
        Ok((files, bytes))
    }
}

/// A repository's commit in a release: the site's own, or a submodule's.
struct Part<'a> {
    repo: &'a Repo,
    clone: Local<'a>,
    commit: &'a Rev,
    depth: usize,
}

pub(super) fn commit_of(record: &Record) -> Result<Rev, String> {
    let commit = record.commit.as_deref().ok_or_else(|| format!("release {} has no commit", record.release))?;
    commit.parse().map_err(text)
}

/// Without git-lfs, git checks out pointers to the files instead of the files, and says nothing.
fn refuse_pointers(clone: &Local<'_>, folder: &Path, listing: &Listing) -> Result<(), String> {
    for path in &listing.attributes {
        let file = folder.join(path);
        // git does not follow a link here either.
        if !fs::symlink_metadata(&file).is_ok_and(|meta| meta.is_file()) {
            continue;
        }
        let mut attributes = Vec::new();
        let read = File::open(&file).and_then(|file| file.take(1024 * 1024).read_to_end(&mut attributes));
        read.map_err(|error| format!("can't read {}: {error}", file.display()))?;
        let mut lines = attributes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_start);
        let uses_lfs = lines.any(|line| {
            !line.starts_with(b"#") && line.split(u8::is_ascii_whitespace).any(|word| word == b"filter=lfs")
        });
        if uses_lfs && !clone.has_filter("lfs").map_err(text)? {
            return Err(format!(
                "{} keeps files in Git LFS, which git here does not know: apt-get install git-lfs && git lfs install --system",
                path.display()
            ));
        }
    }
    Ok(())
}

/// A submodule's url that begins with `./` or `../` goes from its parent's. Source: git-submodule(1).
fn absolute(url: &str, parent: &str) -> String {
    if !url.starts_with("./") && !url.starts_with("../") {
        return url.to_owned();
    }
    let (mut base, mut rest) = (parent.trim_end_matches('/').to_owned(), url);
    let mut between = '/';
    loop {
        if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("../") {
            let end = base.rfind(['/', ':']).unwrap_or(0);
            between = if base[end..].starts_with(':') { ':' } else { '/' };
            base.truncate(end);
            rest = after;
        } else {
            return format!("{base}{between}{rest}");
        }
    }
}

/// A url without what may be there or not.
fn plain(url: &str) -> &str {
    let url = url.strip_prefix("file://").unwrap_or(url).trim_end_matches('/');
    url.strip_suffix(".git").unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_url_goes_from_its_parents() {
        for (url, parent, wanted) in [
            ("../lib.git", "https://example.org/group/app.git", "https://example.org/group/lib.git"),
            ("../../other/lib", "https://example.org/group/app/", "https://example.org/other/lib"),
            ("../lib", "git@example.org:app", "git@example.org:lib"),
            ("./lib", "/srv/git/app", "/srv/git/app/lib"),
            ("https://example.org/x", "/srv", "https://example.org/x"),
            ("../../../../x", "a", "/x"),
        ] {
            assert_eq!(absolute(url, parent), wanted);
        }
        assert_eq!(plain("file:///srv/lib.git/"), plain("/srv/lib"));
    }
}
