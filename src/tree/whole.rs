//! What git leaves out of a tree: the files of submodules, and what Git LFS keeps elsewhere.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use super::{Error, Listing, fill};
use crate::git::local::Local;
use crate::name::Rev;

/// Submodules in submodules in submodules: further down it is a circle.
const DEPTH_MAX: usize = 8;

/// A clone on this machine.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What the configuration calls it.
    pub name: &'a str,
    /// Where it comes from: by this a submodule finds it, and from here a relative url goes.
    pub url: Option<&'a str>,
    /// To read it.
    pub clone: Local<'a>,
}

/// Fills the folders that [`super::write`] and its like left for submodules, from `clones` alone: no network is asked. Refuses
/// what git leaves out in silence. `index` is scratch. Gives files and bytes of all.
///
/// A crash leaves a part of it, as with [`super::write`].
///
/// # Errors
/// A submodule that none of `clones` has ([`Error::Lacking`] names the one that should), or LFS files that git here can't check out; the message says what to do.
pub fn complete(
    source: &Source<'_>,
    clones: &[Source<'_>],
    commit: &Rev,
    folder: &Path,
    index: &Path,
    listing: &Listing,
) -> Result<(u64, u64), Error> {
    add(source, clones, commit, folder, index, listing, 0)
}

fn add(
    source: &Source<'_>,
    clones: &[Source<'_>],
    commit: &Rev,
    folder: &Path,
    index: &Path,
    listing: &Listing,
    depth: usize,
) -> Result<(u64, u64), Error> {
    refuse_pointers(&source.clone, folder, listing)?;
    let (mut files, mut bytes) = (listing.files, listing.bytes);
    if listing.submodules.is_empty() {
        return Ok((files, bytes));
    }
    if depth == DEPTH_MAX {
        return Err(Error::Incomplete(format!("submodules more than {DEPTH_MAX} deep, at {}", folder.display())));
    }
    let urls =
        source.clone.submodule_urls(commit).map_err(|error| Error::Incomplete(format!("submodules: {error}")))?;
    for (path, commit) in &listing.submodules {
        let name = path.display();
        let url = urls.get(path);
        let url = url.ok_or_else(|| Error::Incomplete(format!("submodule {name} has no url in .gitmodules")))?;
        let url = absolute(url, source.url.unwrap_or_default());
        let Some(sub) = clones.iter().find(|clone| clone.url.is_some_and(|known| plain(known) == plain(&url))) else {
            return Err(Error::Incomplete(format!(
                "submodule {name} is of {}, and no repository of `repos:` has that url: add it there, fetch it, and try again",
                url.escape_debug()
            )));
        };
        let inside = folder.join(path);
        let listing = fill(&sub.clone, commit, &inside, index).map_err(|error| {
            let remedy = format!("`failcake fetch {}` gets what is new", sub.name);
            let why = format!("submodule {name} at {commit}: {error} ({remedy})");
            Error::Lacking { clone: sub.name.to_owned(), why }
        })?;
        let (more_files, more_bytes) = add(sub, clones, commit, &inside, index, &listing, depth + 1)?;
        files += more_files;
        bytes += more_bytes;
    }
    Ok((files, bytes))
}

/// Without git-lfs, git checks out pointers to the files instead of the files, and says nothing.
fn refuse_pointers(clone: &Local<'_>, folder: &Path, listing: &Listing) -> Result<(), Error> {
    for path in &listing.attributes {
        let file = folder.join(path);
        // git does not follow a link here either.
        if !fs::symlink_metadata(&file).is_ok_and(|meta| meta.is_file()) {
            continue;
        }
        let mut attributes = Vec::new();
        let read = File::open(&file).and_then(|file| file.take(1024 * 1024).read_to_end(&mut attributes));
        read.map_err(|source| Error::Io { path: file.clone(), source })?;
        let mut lines = attributes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_start);
        let uses_lfs = lines.any(|line| {
            !line.starts_with(b"#") && line.split(u8::is_ascii_whitespace).any(|word| word == b"filter=lfs")
        });
        if uses_lfs && !clone.has_filter("lfs")? {
            return Err(Error::Incomplete(format!(
                "{} keeps files in Git LFS, which git here does not know: apt-get install git-lfs && git lfs install --system",
                path.display()
            )));
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
