//! A package that came into a repository: what `notify-package` says and `apt-update` hears.

use serde::{Deserialize, Serialize};

use super::{Envelope, Error, Event, EventId, EventType};
use crate::name::{Architecture, Distribution, PackageFile, PackageName, PackageVersion};

/// One package, as far as it was told: the older tool says the file's name alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The file that brought it.
    pub file: PackageFile,
    /// What it is called.
    pub name: PackageName,
    /// Its version.
    pub version: PackageVersion,
    /// What it is built for.
    pub architecture: Architecture,
    /// Where it can be had from now on.
    pub distribution: Option<Distribution>,
    /// The file's SHA-256 in hexadecimal digits.
    pub sha256: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Json {
    kind: String,
    file: String,
    name: String,
    version: String,
    architecture: String,
    distribution: Option<String>,
    sha256: Option<String>,
}

impl Package {
    /// `Package update: [myapp_1.0_amd64.deb]`
    pub fn subject(&self) -> String {
        format!("Package update: [{}]", self.file)
    }

    /// The line for people.
    pub fn line(&self) -> String {
        let distribution = self.distribution.as_ref().map_or("?", Distribution::as_str);
        format!("Package {} / {distribution} added to repository.", self.file)
    }

    /// The event for the topic of packages.
    pub fn event(&self, id: EventId, time: jiff::Timestamp) -> Event {
        let mut body =
            format!("Package: {}\nVersion: {}\nArchitecture: {}\n", self.name, self.version, self.architecture);
        let rest = [
            ("Distribution", self.distribution.as_ref().map(Distribution::as_str)),
            ("File", Some(self.file.as_str())),
            ("SHA256", self.sha256.as_deref()),
        ];
        for (key, value) in rest {
            body.extend(value.map(|value| format!("{key}: {value}\n")));
        }
        let json = Json {
            kind: "package".to_owned(),
            file: self.file.to_string(),
            name: self.name.to_string(),
            version: self.version.to_string(),
            architecture: self.architecture.to_string(),
            distribution: self.distribution.as_ref().map(ToString::to_string),
            sha256: self.sha256.clone(),
        };
        super::json_line(&mut body, &json);
        Event::new(id, EventType::Package, time, &self.subject(), body)
    }

    /// Reads a message of the topic of packages: the JSON line if it is sound, else the file's name in the subject.
    ///
    /// # Errors
    /// Neither tells a package, or a name is none.
    pub fn parse(envelope: &Envelope<'_>) -> Result<Package, Error> {
        let json = envelope.json().and_then(|text| serde_json::from_str::<Json>(text).ok());
        if let Some(json) = json.filter(|json| json.kind == "package") {
            return Ok(Package {
                file: name("file", &json.file)?,
                name: name("name", &json.name)?,
                version: name("version", &json.version)?,
                architecture: name("architecture", &json.architecture)?,
                distribution: json.distribution.map(|word| name("distribution", &word)).transpose()?,
                sha256: json.sha256.filter(|digits| is_sha256(digits)),
            });
        }
        let subject = envelope.header("subject").ok_or(Error::Missing("subject"))?;
        let no_package = || Error::bad("subject", subject, "it is not `Package update: [FILE]`");
        let word =
            subject.strip_prefix("Package update: [").and_then(|rest| rest.strip_suffix(']')).ok_or_else(no_package)?;
        let file: PackageFile = name("subject", word)?;
        let parts = file
            .parts()
            .ok_or_else(|| Error::bad("subject", word, "a package's file is NAME_VERSION_ARCHITECTURE.deb"));
        let (name, version, architecture) = parts?;
        Ok(Package { file, name, version, architecture, distribution: None, sha256: None })
    }
}

fn name<T: std::str::FromStr<Err = crate::name::NameError>>(key: &'static str, word: &str) -> Result<T, Error> {
    word.parse().map_err(|error: crate::name::NameError| Error::Bad { key, why: error.to_string() })
}

fn is_sha256(digits: &str) -> bool {
    digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn package() -> Package {
        Package {
            file: "myapp_1.0-1_amd64.deb".parse().unwrap(),
            name: "myapp".parse().unwrap(),
            version: "1:1.0-1".parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
            distribution: Some("bookworm".parse().unwrap()),
            sha256: Some("ab".repeat(32)),
        }
    }

    fn parse(headers: &[(String, String)], body: &str) -> Result<Package, Error> {
        Package::parse(&Envelope::read(headers, body.as_bytes()).unwrap().unwrap())
    }

    fn subject(text: &str) -> Vec<(String, String)> {
        vec![("subject".to_owned(), text.to_owned())]
    }

    #[test]
    fn it_says_what_the_older_tool_said_and_more() {
        let event = package().event(EventId::new(), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(event.subject, "Package update: [myapp_1.0-1_amd64.deb]");
        assert_eq!(package().line(), "Package myapp_1.0-1_amd64.deb / bookworm added to repository.");
        let text = "Package: myapp\nVersion: 1:1.0-1\nArchitecture: amd64\nDistribution: bookworm\nFile: myapp_1.0-1_amd64.deb\nSHA256: abab";
        assert!(event.body.starts_with(text), "{}", event.body);
        assert!(event.body.lines().next_back().unwrap().starts_with("JSON: {\"kind\":\"package\","), "{}", event.body);
        assert_eq!(event.headers[2], ("event-type".to_owned(), "package".to_owned()));
        assert_eq!(parse(&event.headers, &event.body).unwrap(), package());
    }

    #[test]
    fn what_the_older_tool_says_is_read() {
        let heard = parse(&subject("Package update: [myapp_1.0-1_amd64.deb]"), "whatever\n").unwrap();
        let told = Package { version: "1.0-1".parse().unwrap(), distribution: None, sha256: None, ..package() };
        assert_eq!(heard, told);
    }

    #[test]
    fn names_that_are_attacks_are_no_packages() {
        for word in [
            "-x_1_amd64.deb",
            "a;b_1_amd64.deb",
            "../aa_1_amd64.deb",
            "myapp_$(id)_amd64.deb",
            "myapp_1_a b.deb",
            "myapp",
            "",
        ] {
            assert!(parse(&subject(&format!("Package update: [{word}]")), "x\n").is_err(), "{word}");
        }
        assert!(parse(&[], "x\n").is_err());
        assert!(parse(&subject("Package updated: [myapp_1_amd64.deb]"), "x\n").is_err());
        let event = package().event(EventId::new(), jiff::Timestamp::UNIX_EPOCH);
        for (sound, evil) in
            [("\"myapp\"", "\"-oDir=/\""), ("\"bookworm\"", "\"../x\""), ("\"1:1.0-1\"", "\"1;reboot\"")]
        {
            let body = event.body.replace(sound, evil);
            assert_ne!(body, event.body);
            assert!(parse(&event.headers, &body).is_err(), "{evil}");
        }
        let odd = parse(&event.headers, &event.body.replace(&"ab".repeat(32), "no digits")).unwrap();
        assert_eq!(odd.sha256, None);
    }

    proptest! {
        #[test]
        fn what_is_altered_is_a_whole_package_or_none(
            at in any::<prop::sample::Index>(), length in 0_usize..8, new in "(\"|,|:|_|-|/|null|\\PC){0,3}",
            word in "(a|_|-|\\.|/|1|\\PC){0,12}"
        ) {
            let event = package().event(EventId::new(), jiff::Timestamp::UNIX_EPOCH);
            let mut body = event.body.clone();
            let from = body.floor_char_boundary(at.index(body.len()));
            let to = body.ceil_char_boundary((from + length).min(body.len()));
            body.replace_range(from..to, &new);
            let named = subject(&format!("Package update: [{word}.deb]"));
            for (headers, body) in [(&event.headers, body.as_str()), (&named, "x\n")] {
                let Ok(heard) = parse(headers, body) else { continue };
                let again = heard.event(EventId::new(), jiff::Timestamp::UNIX_EPOCH);
                prop_assert_eq!(parse(&again.headers, &again.body), Ok(heard));
            }
        }
    }
}
