//! What Debian's archives call things. None of these begins with `-` or `.`, or holds `/`.

use super::{COMPONENT_MAX, NameError, check_component, refuse};
use std::fmt;
use std::str::FromStr;

/// Letters and digits in front; what follows is one of these or in `extra`.
fn check(what: &'static str, word: &str, lower: bool, extra: &str, rule: &'static str) -> Result<(), NameError> {
    if word.len() > COMPONENT_MAX {
        return Err(refuse(what, word, "it is longer than 255 bytes"));
    }
    let letter = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase() || (!lower && c.is_ascii_uppercase());
    let sound = word.starts_with(letter) && word.chars().all(|c| letter(c) || extra.contains(c));
    if sound { Ok(()) } else { Err(refuse(what, word, rule)) }
}

text_name!(
    /// A package, by the rules of Debian Policy 5.6.1.
    PackageName, "package name", |word| {
        if word.len() < 2 {
            return Err(refuse("package name", word, "it has less than two characters"));
        }
        let rule = "only lower-case letters, digits, '+', '-' and '.' are allowed, with a letter or digit in front";
        check("package name", word, true, "+-.", rule)
    }
);

text_name!(
    /// A version, epoch and all: Debian Policy 5.6.12. Some that are in use begin with a letter.
    PackageVersion, "package version", |word| {
        let rule = "only letters, digits and '.+-:~' are allowed, with a letter or digit in front";
        check("package version", word, false, ".+-:~", rule)
    }
);

text_name!(
    /// `amd64`, `all`, `source`: Debian Policy 5.6.8.
    Architecture, "architecture", |word| {
        let rule = "only lower-case letters, digits and '-' are allowed, with a letter or digit in front";
        check("architecture", word, true, "-", rule)
    }
);

text_name!(
    /// A distribution by its codename or suite (`bookworm`, `stable-backports`), which is also a folder's name.
    Distribution, "distribution", |word| check_component("distribution", word, |c| matches!(c, '+' | '~'))
);

text_name!(
    /// The file of a package or of an upload: `myapp_1.0-1_amd64.deb`. `%3a` is how some tools write an epoch's colon.
    PackageFile, "package file", |word| {
        let rule = "only letters, digits and '.+-_~%:' are allowed, with a letter or digit in front";
        check("package file", word, false, ".+-_~%:", rule)
    }
);

impl PackageFile {
    /// Name, version and architecture as the file's name has them; the version lacks its epoch. `None`: it is not called
    /// as packages are.
    pub fn parts(&self) -> Option<(PackageName, PackageVersion, Architecture)> {
        let stem = self.as_str().strip_suffix(".deb").or_else(|| self.as_str().strip_suffix(".udeb"))?;
        let mut parts = stem.split('_');
        let (name, version, architecture) = (parts.next()?, parts.next()?, parts.next()?);
        let version = version.replace("%3a", ":").parse().ok()?;
        Some((name.parse().ok()?, version, architecture.parse().ok()?)).filter(|_| parts.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_names_are_those_of_the_policy() {
        for word in ["myapp", "libc6", "g++", "0ad", "a1", "x.y-z+w"] {
            assert!(word.parse::<PackageName>().is_ok(), "{word:?}");
        }
        for word in
            ["", "a", "-x", "--help", "+x", ".x", "My", "a_b", "a b", "a;b", "a/b", "a\nb", "a:amd64", "a*", "é1"]
        {
            assert!(word.parse::<PackageName>().is_err(), "{word:?}");
        }
        assert!("a".repeat(256).parse::<PackageName>().is_err());
    }

    #[test]
    fn versions_files_and_distributions_are_no_options_and_no_paths() {
        for word in ["1:2.0~rc1-3+b1", "v1.0", "20240229"] {
            assert!(word.parse::<PackageVersion>().is_ok(), "{word:?}");
        }
        for word in ["", "-1", "~1", "1 0", "1/0", "1;0", "1\n", "$(id)"] {
            assert!(word.parse::<PackageVersion>().is_err(), "{word:?}");
            assert!(word.parse::<Architecture>().is_err(), "{word:?}");
        }
        for word in ["-x.deb", "a;b.deb", "a\nb.deb", "../x.deb", "a b.deb", ".x.deb", "a'b.deb", "a$b.deb", ""] {
            assert!(word.parse::<PackageFile>().is_err(), "{word:?}");
        }
        for word in ["bookworm", "stable-backports", "12.5+x"] {
            assert!(word.parse::<Distribution>().is_ok(), "{word:?}");
        }
        for word in ["", "..", "-x", "a/b", "a b", ".git"] {
            assert!(word.parse::<Distribution>().is_err(), "{word:?}");
        }
    }

    #[test]
    fn a_files_name_tells_what_is_in_it() {
        let parts = |file: &str| {
            let (name, version, architecture) = file.parse::<PackageFile>().unwrap().parts()?;
            Some(format!("{name} {version} {architecture}"))
        };
        assert_eq!(parts("myapp_1.0-1_amd64.deb").as_deref(), Some("myapp 1.0-1 amd64"));
        assert_eq!(parts("myapp_1%3a1.0_all.deb").as_deref(), Some("myapp 1:1.0 all"));
        assert_eq!(parts("netcfg_1.0_amd64.udeb").as_deref(), Some("netcfg 1.0 amd64"));
        for file in ["myapp.deb", "myapp_1.0.deb", "My_1.0_amd64.deb", "a1_1_2_3.deb", "myapp_1.0_amd64.changes"] {
            assert_eq!(parts(file), None, "{file}");
        }
    }
}
