//! Repositories of Subversion among `repos:`: those with `svn:`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::file::{Entry, RepoKeys};
use super::show::{sparse, without_password};
use super::word::{show_duration, word};
use super::{Error, SecretFile};
use crate::name::RepoName;

/// One of `repos:` that has `svn:`. Nothing of it is kept on this machine: a deploy exports what it wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SvnRepo {
    /// Name.
    pub name: RepoName,
    /// `svn:` the project's URL: the folder above trunk, branches and tags. No slash at its end.
    pub url: String,
    /// `user:` who runs svn where no site's user does.
    pub user: Option<String>,
    /// `timeout:` of one call of svn; default 10 min.
    pub timeout: Duration,
    /// `login:` on the server; `None`: what svn of that user has in its own configuration.
    pub login: Option<String>,
    /// `password-file:` of that login.
    pub password: Option<SecretFile>,
    /// `externals:`; default `refuse`.
    pub externals: Externals,
}

/// What a tree with `svn:externals` is deployed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Externals {
    /// Not at all.
    #[default]
    Refuse,
    /// Without them.
    LeaveOut,
}

impl Externals {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Externals::Refuse => "refuse",
            Externals::LeaveOut => "leave-out",
        }
    }
}

word!(
    /// The URL of a project in a repository of Subversion, as svn takes it.
    SvnUrl(String), |word| {
        let refuse = |why: &str| Err(format!("{word:?} is no url of a Subversion project: {why}"));
        let (scheme, rest) = word.split_once("://").unwrap_or_default();
        let tunnel = scheme.strip_prefix("svn+").is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()));
        if !tunnel && !["svn", "http", "https", "file"].contains(&scheme) {
            return refuse("it begins with https://, http://, svn://, svn+ssh:// or file://");
        }
        let url = word.trim_end_matches('/');
        if rest.trim_matches('/').is_empty() || word.chars().any(char::is_control) {
            return refuse("it names nothing");
        }
        let mut parts = rest.split('/').skip(1);
        if parts.any(|part| part == "..") {
            return refuse("leave out '..'");
        }
        if ["trunk", "branches", "tags"].iter().any(|line| url.ends_with(&format!("/{line}"))) {
            return refuse("name the folder above trunk, branches and tags");
        }
        Ok(url.to_owned())
    }
);
word!(
    /// What becomes of externals.
    ExternalsWord(Externals), |word| match word {
        "refuse" => Ok(Externals::Refuse),
        "leave-out" => Ok(Externals::LeaveOut),
        _ => Err(super::word::one_of("externals", word, ["refuse", "leave-out"].into_iter())),
    }
);

/// The entry, if it is one of Subversion.
pub fn repo(name: &RepoName, entry: &Entry<RepoKeys>) -> Result<Option<SvnRepo>, Error> {
    let place = entry.place();
    let keys = &entry.keys;
    let refuse = |key: &str, why: &str| Err(Error(format!("{place}: repository {name}: {key}: {why}")));
    let Some(SvnUrl(url)) = keys.svn.clone() else {
        let own = [
            ("login", keys.login.is_some()),
            ("password-file", keys.password_file.is_some()),
            ("externals", keys.externals.is_some()),
        ];
        return match own.into_iter().find(|(_, there)| *there) {
            Some((key, _)) => refuse(key, "is for Subversion: say svn: URL, or leave it out"),
            None => Ok(None),
        };
    };
    let of_git = [
        ("path", keys.path.is_some()),
        ("url", keys.url.is_some()),
        ("mode", keys.mode.is_some()),
        ("target", keys.target.is_some()),
        ("branch", keys.branch.is_some()),
        ("listen", keys.listen.is_some()),
        ("secret-file", keys.secret_file.is_some()),
        ("only", keys.only.is_some()),
        ("ignore", keys.ignore.is_some()),
        ("prefix", keys.prefix.is_some()),
        ("names", keys.names.is_some()),
        ("force", keys.force.is_some()),
        ("grace", keys.grace.is_some()),
        ("exec", keys.exec.is_some()),
    ];
    if let Some((key, _)) = of_git.into_iter().find(|(_, there)| *there) {
        return refuse(key, "is for git, and this repository has svn:, of which nothing is kept here: leave it out");
    }
    if keys.login.is_none() && keys.password_file.is_some() {
        return refuse("password-file", "belongs to a login: say whose it is");
    }
    Ok(Some(SvnRepo {
        name: name.clone(),
        url,
        user: keys.user.clone().map(|user| user.0),
        timeout: keys.timeout.as_ref().map_or(super::effective::TEN_MINUTES, |span| span.0),
        login: keys.login.clone().map(|login| login.0),
        password: keys.password_file.clone().map(|near| SecretFile(near.0)),
        externals: keys.externals.as_ref().map_or(Externals::Refuse, |word| word.0),
    }))
}

/// As the configuration has it.
pub fn show(repo: &SvnRepo) -> Value {
    let password: Option<&PathBuf> = repo.password.as_ref().map(|file| &file.0);
    sparse(json!({
        "svn": without_password(&repo.url),
        "user": repo.user,
        "timeout": show_duration(repo.timeout),
        "login": repo.login,
        "password-file": password,
        "externals": (repo.externals != Externals::Refuse).then_some(repo.externals.as_str()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Source};

    fn load(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("failcake.yaml");
        std::fs::write(&path, text).unwrap();
        let loaded = Source { file: Some(path) }.load_in(&|_| None, std::path::Path::new("/nonexistent"));
        loaded.map_err(|error| error.0.replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn a_repository_of_subversion_has_a_url_and_keeps_nothing_here() {
        let text = "repos:\n  code: { svn: 'https://svn.example.org/web/spog/', login: ada, password-file: svn.pw, user: www-data, timeout: 90s }\n\
                    sites: { www: { repo: code, path: /srv/www } }\n";
        let config = load(text).unwrap();
        assert!(config.repos.is_empty(), "whatever works with clones never sees it");
        let repo = &config.svn[&"code".parse().unwrap()];
        assert_eq!(
            (repo.url.as_str(), repo.login.as_deref(), repo.externals),
            ("https://svn.example.org/web/spog", Some("ada"), Externals::Refuse)
        );
        assert!(
            repo.password.as_ref().unwrap().0.ends_with("svn.pw") && repo.password.as_ref().unwrap().0.is_absolute()
        );
        let shown = config.to_json();
        assert_eq!(shown["repos"]["code"]["svn"], "https://svn.example.org/web/spog");
        let again = load(&serde_saphyr::to_string(&shown).unwrap()).unwrap();
        assert_eq!(again.to_json()["repos"], shown["repos"], "what is shown is a configuration");
    }

    #[test]
    fn what_is_none_and_what_is_gits_is_refused() {
        for (keys, wanted) in [
            ("svn: /srv/svn/code", "it begins with https://"),
            ("svn: 'ext::sh -c id'", "it begins with https://"),
            ("svn: 'svn+://x/y'", "it begins with https://"),
            ("svn: --config-option=x", "it begins with https://"),
            ("svn: 'svn://'", "it names nothing"),
            ("svn: \"svn://host/a\\nb\"", "it names nothing"),
            ("svn: 'file:///srv/../etc'", "leave out '..'"),
            ("svn: 'svn://host/spog/trunk/'", "name the folder above trunk"),
            ("svn: 'svn://host/spog', path: /srv/x", "path: is for git"),
            ("svn: 'svn://host/spog', mode: tags", "mode: is for git"),
            ("svn: 'svn://host/spog', password-file: x", "belongs to a login"),
            ("svn: 'svn://host/spog', externals: follow", "it is one of refuse, leave-out"),
            ("path: /srv/x, login: ada", "login: is for Subversion"),
        ] {
            let error = load(&format!("repos:\n  code: {{ {keys} }}\n")).unwrap_err();
            assert!(error.contains(wanted) && error.starts_with("failcake.yaml:2"), "{keys}: {error}");
        }
        let site = "repos: { code: { svn: 'svn://host/spog' } }\nsites: { www: { repo: code, path: /srv/www, mode: in-place } }\n";
        assert!(load(site).unwrap_err().contains("which is git's"));
    }
}
