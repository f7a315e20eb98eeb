//! Which configured repository a forge means: by a URL that both know, else by the full name.

use crate::forge::Origin;
use crate::name::RepoName;

/// A repository that the configuration knows.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its name on the bus.
    pub name: RepoName,
    /// `url:`, taken apart.
    place: Option<Place>,
}

/// Where a repository is, however one gets there: `git@Host:a/b.git`, `ssh://git@host:2222/a/b` and
/// `https://host/a/b/` are one place. Ports are left out, for they differ between ssh and https of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    host: String,
    path: String,
}

impl Known {
    /// Takes `url:` as it is configured; one that names no host is no help here.
    pub fn new(name: RepoName, url: Option<&str>) -> Known {
        Known { name, place: url.and_then(Place::parse) }
    }
}

/// The configured repository with one of its URLs, else the one of its full name, else the only one whose URL has that
/// path (the forge may call itself by another host name than the clones do).
pub fn find<'a>(known: &'a [Known], origin: &Origin) -> Option<&'a Known> {
    let places: Vec<Place> = origin.urls.iter().filter_map(|url| Place::parse(url)).collect();
    let with_path = || {
        let mut same = known.iter().filter(|k| k.place.as_ref().is_some_and(|place| place.path == origin.full_name));
        same.next().filter(|_| same.next().is_none())
    };
    known
        .iter()
        .find(|k| k.place.as_ref().is_some_and(|place| places.contains(place)))
        .or_else(|| known.iter().find(|k| k.name.as_str() == origin.full_name))
        .or_else(with_path)
}

impl Place {
    fn parse(url: &str) -> Option<Place> {
        let (host, path) = match url.split_once("://") {
            Some((_, rest)) => rest.split_once('/')?,
            // scp's form; a slash before the colon is a path (git-clone(1), "GIT URLS").
            None => url.split_once(':').filter(|(host, _)| !host.contains('/'))?,
        };
        let host = host.rsplit('@').next().unwrap_or_default();
        let host = match host.strip_prefix('[') {
            Some(address) => address.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let path = path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let known = !host.is_empty() && !path.is_empty();
        known.then(|| Place { host: host.to_ascii_lowercase(), path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(full_name: &str, urls: &[&str]) -> Origin {
        Origin { full_name: full_name.to_owned(), urls: urls.iter().map(|url| (*url).to_owned()).collect() }
    }

    #[test]
    fn one_place_has_many_urls() {
        let spelled = [
            "git@Git.example.org:web/spog.git",
            "git.example.org:web/spog",
            "git.example.org:/web/spog.git",
            "ssh://git@git.example.org:2222/web/spog.git",
            "https://user:pass@GIT.EXAMPLE.ORG/web/spog.git/",
            "https://git.example.org:8443/web/spog",
            "git://git.example.org/web/spog",
        ];
        for url in spelled {
            let place = Place::parse(url).unwrap_or_else(|| panic!("{url}"));
            assert_eq!((place.host.as_str(), place.path.as_str()), ("git.example.org", "web/spog"), "{url}");
        }
        assert_eq!(Place::parse("ssh://git@[2001:db8::1]:22/a/b").unwrap().host, "2001:db8::1");
        for url in ["", "/srv/git/spog.git", "file:///srv/git/spog", "./a:b", "https://", "https://host", "host:", ":x"]
        {
            assert_eq!(Place::parse(url), None, "{url:?}");
        }
    }

    #[test]
    fn the_url_counts_before_the_name() {
        let known = [
            Known::new("web/spog".parse().unwrap(), Some("git@other.example.org:web/spog.git")),
            Known::new("ours".parse().unwrap(), Some("https://git.example.org/web/spog")),
            Known::new("bare".parse().unwrap(), None),
        ];
        let found = |full_name, urls: &[&str]| find(&known, &origin(full_name, urls)).map(|k| k.name.as_str());
        assert_eq!(found("web/spog", &["ssh://git@GIT.example.org/web/spog.git"]), Some("ours"));
        assert_eq!(found("web/spog", &["https://third.example.org/web/spog"]), Some("web/spog"));
        assert_eq!(found("bare", &[]), Some("bare"));
        assert_eq!(found("web/other", &["https://git.example.org/web/other"]), None);
    }

    #[test]
    fn a_path_that_two_servers_have_names_none() {
        let one = Known::new("one".parse().unwrap(), Some("git@a.example.org:web/spog.git"));
        let two = Known::new("two".parse().unwrap(), Some("git@b.example.org:web/spog.git"));
        let from = origin("web/spog", &["https://c.example.org/web/spog"]);
        assert_eq!(find(std::slice::from_ref(&one), &from).map(|k| k.name.as_str()), Some("one"));
        assert!(find(&[one, two], &from).is_none());
    }
}
