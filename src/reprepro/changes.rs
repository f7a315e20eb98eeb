//! A .changes file: what belongs to an upload. Source: deb-changes(5).

use crate::name::PackageFile;

/// More files are in no upload.
const FILES: usize = 1000;

/// One of the files that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub file: PackageFile,
    /// In octets.
    pub size: u64,
    /// In lower-case hexadecimal digits.
    pub sha256: String,
}

/// Why it can't be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Unread {
    /// Its end may be missing.
    Short,
    /// It is none, or names what no upload has.
    Wrong(String),
}

/// The files that it names, each with its checksum. Whether a signature is good is for reprepro to tell.
///
/// # Errors
/// See [`Unread`].
pub fn parse(text: &str) -> Result<Vec<Named>, Unread> {
    let lines = signed_part(text).ok_or(Unread::Short)?;
    let sums = field(&lines, "Checksums-Sha256");
    // The last field; cut short at a line's end it names less than the other.
    let files = field(&lines, "Files");
    if !lines.iter().any(|line| line.starts_with("Format:")) {
        return Err(if text.contains('\n') {
            Unread::Wrong("it is no .changes file".to_owned())
        } else {
            Unread::Short
        });
    }
    let (Some(sums), Some(files)) = (sums, files) else { return Err(Unread::Short) };
    let mut named = Vec::new();
    for line in &sums {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [sum, size, name] = words[..] else { return Err(Unread::Short) };
        let is_sum = sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit());
        let (true, Ok(size)) = (is_sum, size.parse()) else { return Err(Unread::Short) };
        let file: PackageFile = name.parse().map_err(|error| Unread::Wrong(format!("{error}")))?;
        named.push(Named { file, size, sha256: sum.to_ascii_lowercase() });
    }
    let mut both = files.iter().map(|line| line.split_whitespace().last().unwrap_or_default()).collect::<Vec<_>>();
    both.sort_unstable();
    let mut summed = named.iter().map(|named| named.file.as_str()).collect::<Vec<_>>();
    summed.sort_unstable();
    if both != summed || !text.ends_with('\n') {
        return Err(Unread::Short);
    }
    if named.is_empty() || named.len() > FILES || summed.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Unread::Wrong("it names no file, one twice, or too many".to_owned()));
    }
    Ok(named)
}

/// Every file that it may be about to name, whole or damaged as it is.
pub fn files(text: &str) -> impl Iterator<Item = PackageFile> {
    let lines = text.lines().filter(|line| line.starts_with(' ') && line.split_whitespace().count() > 1);
    lines
        .filter_map(|line| line.split_whitespace().last()?.parse().ok())
        .filter(|file: &PackageFile| file.as_str().contains('.'))
}

/// The lines that a signature covers; all where there is none. `None`: the signature's end is missing.
fn signed_part(text: &str) -> Option<Vec<&str>> {
    if !text.starts_with("-----BEGIN PGP SIGNED MESSAGE-----") {
        return Some(text.lines().collect());
    }
    let (covered, signature) = text.split_once("\n-----BEGIN PGP SIGNATURE-----")?;
    signature.contains("\n-----END PGP SIGNATURE-----").then_some(())?;
    let lines = covered.lines().skip_while(|line| !line.trim().is_empty()).skip(1);
    Some(lines.map(|line| line.strip_prefix("- ").unwrap_or(line)).collect())
}

/// The indented lines below `name:`.
fn field<'a>(lines: &[&'a str], name: &str) -> Option<Vec<&'a str>> {
    let at = lines.iter().position(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))?;
    let below = lines[at + 1..].iter().take_while(|line| line.starts_with(' ') && !line.trim().is_empty());
    Some(below.copied().collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUM: &str = "dd6ba4233e2738307790b58800780364abc67bb8ced3e9fe8f7e7651ac5b5a28";

    fn text() -> String {
        format!(
            "Format: 1.8\nSource: src\nDistribution: sid\nChecksums-Sha256:\n {SUM} 668 pp_1.0_amd64.deb\n {SUM} 12 src_1.0.dsc\n\
             Files:\n 0510 668 misc optional pp_1.0_amd64.deb\n 0511 12 misc optional src_1.0.dsc\n"
        )
    }

    #[test]
    fn what_it_names_is_read_within_a_signature_and_without() {
        let named = parse(&text()).unwrap();
        assert_eq!(
            named.iter().map(|named| named.file.as_str()).collect::<Vec<_>>(),
            ["pp_1.0_amd64.deb", "src_1.0.dsc"]
        );
        assert_eq!((named[0].size, named[0].sha256.as_str()), (668, SUM));
        let signed = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{}-----BEGIN PGP SIGNATURE-----\n\nxyz\n-----END PGP SIGNATURE-----\n",
            text()
        );
        assert_eq!(parse(&signed), Ok(named));
        assert_eq!(parse(&signed.replace("-----END PGP", "")), Err(Unread::Short));
        assert_eq!(files(&text()).count(), 4);
    }

    #[test]
    fn no_beginning_of_one_is_a_whole_one() {
        let text = text();
        for end in 0..text.len() {
            assert!(parse(&text[..end]).is_err(), "{end} of {} octets", text.len());
        }
    }

    #[test]
    fn what_no_upload_has_is_wrong() {
        let wrong = |from: &str, to: &str| matches!(parse(&text().replace(from, to)), Err(Unread::Wrong(_)));
        assert!(wrong("src_1.0.dsc", "../src_1.0.dsc"));
        assert!(wrong("src_1.0.dsc", "-oX.dsc"));
        assert!(wrong("src_1.0.dsc", "pp_1.0_amd64.deb"), "one name twice");
        assert!(wrong("Format: 1.8\n", "Vormat: 1.8\n"));
        assert!(matches!(parse(&text().replace("0511 12 misc optional src_1.0.dsc", "")), Err(Unread::Short)));
    }

    fn files_named(max: usize) -> impl Strategy<Value = Vec<&'static str>> {
        prop::collection::vec(
            prop::sample::select(vec!["a_1_all.deb", "b_1_all.deb", "-c_1_all.deb", "d_1.dsc"]),
            0..max,
        )
    }

    proptest! {
        /// In whatever order it says it, what is not all there is not taken for another upload.
        #[test]
        fn no_beginning_is_another_whole_one(
            sums in files_named(3), more in files_named(2), swapped: bool, signed: bool,
            between in prop::collection::vec(prop::sample::select(vec!["X: y\n", "\n", " odd\n", "- ", "\r\n", "Files:\n"]), 0..2),
        ) {
            let mut parts = [
                sums.iter().fold("Checksums-Sha256:\n".to_owned(), |text, file| format!("{text} {SUM} 6 {file}\n")),
                sums.iter().chain(&more).fold("Files:\n".to_owned(), |text, file| format!("{text} 05 6 misc optional {file}\n")),
            ];
            if swapped {
                parts.swap(0, 1);
            }
            let mut text = format!("Format: 1.8\n{}", parts.join(&between.concat()));
            if signed {
                text = format!(
                    "-----BEGIN PGP SIGNED MESSAGE-----\n\n{text}-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n"
                );
            }
            let _ = files(&text).count();
            if let Ok(named) = parse(&text) {
                let all: Vec<&str> = named.iter().map(|named| named.file.as_str()).collect();
                prop_assert_eq!(all, sums);
                for (end, _) in text.match_indices('\n') {
                    let before = parse(&text[..=end]);
                    prop_assert!(before.as_ref() == Ok(&named) || before == Err(Unread::Short), "{text}");
                }
            }
        }
    }
}
