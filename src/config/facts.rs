//! A node's facts: a file of names and values, written by whatever knows the machine.

use std::collections::BTreeMap;
use std::path::Path;

use super::file::read_text;
use super::{Config, Error, mistake};

/// Octets of such a file: every answer to `nodes` carries its facts.
const MAX: usize = 64 * 1024;

impl Config {
    /// What `facts-file:` says now; nothing where none is configured.
    ///
    /// # Errors
    /// It can't be read, or is no list of names and plain values in YAML or JSON.
    pub fn facts(&self) -> Result<BTreeMap<String, String>, Error> {
        self.facts_file.as_deref().map_or_else(|| Ok(BTreeMap::new()), read)
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let text = read_text(path, "facts file")?;
    if text.len() > MAX {
        let path = path.display();
        return Err(Error(format!("the facts file {path} is larger than 64 KiB: keep what deploys are chosen by")));
    }
    let options = serde_saphyr::options! { with_snippet: false, emit_comments: false, strict_booleans: true };
    let facts: Option<BTreeMap<String, String>> =
        serde_saphyr::from_str_with_options(&text, options).map_err(|error| mistake::tell(path, &text, &error))?;
    Ok(facts.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str) -> Result<BTreeMap<String, String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("facts");
        std::fs::write(&path, text).unwrap();
        read(&path).map_err(|error| error.0.replace(&path.display().to_string(), "FACTS"))
    }

    #[test]
    fn yaml_and_json_with_plain_values() {
        let wanted: BTreeMap<String, String> =
            [("dc", "lon"), ("rack", "12"), ("ssd", "true")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        assert_eq!(facts("dc: lon\nrack: 12\nssd: true\n"), Ok(wanted.clone()));
        assert_eq!(facts(r#"{"dc":"lon","rack":12,"ssd":true}"#), Ok(wanted));
        assert_eq!(facts("# none yet\n"), Ok(BTreeMap::new()));
    }

    #[test]
    fn what_is_no_list_of_values_is_told_with_its_place() {
        assert!(facts("dc: lon\nos: { name: debian }\n").unwrap_err().starts_with("FACTS:2"));
        assert!(facts("- dc\n").unwrap_err().starts_with("FACTS:1"));
        assert!(facts(&"x: ".repeat(40_000)).unwrap_err().contains("64 KiB"));
        assert!(read(Path::new("/nowhere/facts")).unwrap_err().0.contains("can't read the facts file /nowhere/facts"));
    }
}
