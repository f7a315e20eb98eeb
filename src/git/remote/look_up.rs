//! What a name means at the remote right now, without a clone.

use super::{Error, Repo};
use crate::git::local::{Kind, Local};
use crate::name::{RefName, Rev};

impl Repo<'_> {
    /// The commit that `reference` means at `url`: a tag (what it leads to), else a branch, else a full commit id, which
    /// no remote can be asked for, so it is taken as it is. Without a `url` the clone here says it.
    ///
    /// # Errors
    /// git failed, or took too long. A name that means nothing is `None`.
    pub fn look_up(&self, reference: &str) -> Result<Option<(Kind, Rev)>, Error> {
        let Some(url) = self.url else {
            let clone = Local { path: self.path, user: self.user, timeout: self.timeout, stop: self.stop };
            return clone.resolve(reference).map_err(|error| match error {
                Error::NotCloned(path) => Error::NoUrl(path),
                other => other,
            });
        };
        let (tag, branch) = (RefName::tag(reference).ok(), RefName::branch(reference).ok());
        let commit = || reference.parse::<Rev>().ok().filter(|rev| !rev.is_zero()).map(|rev| (Kind::Commit, rev));
        if tag.is_none() && branch.is_none() {
            return Ok(commit());
        }
        let mut command = self.remote_command(None)?;
        command.args(["ls-remote", "--quiet", "--"]).arg(url);
        if let Some(tag) = &tag {
            // What a tag leads to is listed under a name of its own.
            command.arg(tag.as_os_str()).arg(format!("{tag}^{{}}"));
        }
        command.args(branch.as_ref().map(RefName::as_os_str));
        let listing = self.call().run("ls-remote", command, None)?;
        // git matches ends of names: a branch `refs/tags/v1` of that odd name is listed too.
        let find = |name: &[u8]| {
            listing.split(|b| *b == b'\n').find_map(|line| {
                let (id, found) = line.split_at_checked(line.iter().position(|b| *b == b'\t')?)?;
                if &found[1..] != name { None } else { std::str::from_utf8(id).ok()?.parse::<Rev>().ok() }
            })
        };
        let tagged = tag.and_then(|tag| find(&[tag.as_bytes(), b"^{}"].concat()).or_else(|| find(tag.as_bytes())));
        let found = tagged.map(|rev| (Kind::Tag, rev));
        let found = found.or_else(|| Some((Kind::Branch, find(branch?.as_bytes())?)));
        Ok(found.or_else(commit))
    }
}
