use std::fmt::Write as _;

use proptest::prelude::*;

use super::layout::place;
use super::*;

fn read(text: &str) -> Vec<Project> {
    projects(|| parse_changed(text.as_bytes()), 100, 100).listed
}

fn names(projects: &[Project]) -> Vec<(&str, Vec<&str>)> {
    let paths = |project: &Project| {
        project
            .paths
            .iter()
            .map(|changed| match &changed.path {
                std::borrow::Cow::Owned(path) => Box::leak(path.clone().into_boxed_str()) as &str,
                std::borrow::Cow::Borrowed(path) => path,
            })
            .collect()
    };
    projects.iter().map(|project| (project.directory.as_str(), paths(project))).collect()
}

#[test]
fn info_is_author_date_and_log() {
    let info = parse_info("ada\n2026-11-22 22:00:07 +0000 (Sun, 22 Nov 2026)\n31\nlog é\nrepo: evil\n\n\n".as_bytes())
        .unwrap();
    assert_eq!(info.author.as_deref(), Some("ada"));
    assert_eq!(info.date.unwrap().to_string(), "2026-11-22T22:00:07Z");
    assert_eq!(info.log, "log é\nrepo: evil\n\n");
    assert_eq!(parse_info(b"\n\n0\n"), Some(Info { author: None, date: None, log: String::new() }));
    // An administrator can give an author two lines.
    let odd = parse_info(b"ada\nbyron\n\n6\n1\n2\n").unwrap();
    assert_eq!((odd.author.as_deref(), odd.date, odd.log.as_str()), (Some("ada\nbyron"), None, "1\n2"));
    for nonsense in ["", "ada", "ada\n", "ada\nyesterday\n3\nlog\n", "ada\n\nlog\n"] {
        assert_eq!(parse_info(nonsense.as_bytes()), None, "{nonsense:?}");
    }
}

#[test]
fn changed_is_status_path_and_origin() {
    let text = "A + web/b: (from x:r1)/\n    (from web/a (b)/:r2)\nD   web/a/\n_U  /\nUU  c\nU   d\nA   e\nnonsense\n\
                    (from lost:r1)\n";
    let found: Vec<Changed<'_>> = parse_changed(text.as_bytes()).collect();
    let seen: Vec<_> = found.iter().map(|c| (c.action, c.properties, c.path.as_ref())).collect();
    assert_eq!(
        seen,
        [
            (Action::Add, false, "web/b: (from x:r1)/"),
            (Action::Delete, false, "web/a/"),
            (Action::Properties, true, "/"),
            (Action::Modify, true, "c"),
            (Action::Modify, false, "d"),
            (Action::Add, false, "e"),
        ]
    );
    assert_eq!(found[0].copied, Some(Copied { path: "web/a (b)/".into(), rev: 2 }));
    assert!(found[1..].iter().all(|changed| changed.copied.is_none()));
}

#[test]
fn the_project_is_above_the_first_trunk_branches_or_tags() {
    let at = |path| place(path).map(|place| (place.project, place.line));
    assert_eq!(at("web/spog/trunk/a/b"), Some(("web/spog", Some((LineKind::Trunk, "", false)))));
    assert_eq!(at("trunk/"), Some(("", Some((LineKind::Trunk, "", true)))));
    assert_eq!(at("spog/branches/x/trunk/y"), Some(("spog", Some((LineKind::Branch, "x", false)))));
    assert_eq!(at("spog/tags/v1/"), Some(("spog", Some((LineKind::Tag, "v1", true)))));
    assert_eq!(at("spog/tags/"), Some(("spog", None)));
    assert_eq!(at("spog/tags/README"), Some(("spog", None)));
    assert_eq!(at("a b/trunk/vendor/trunk/z"), Some(("a b", Some((LineKind::Trunk, "", false)))));
    for outside in ["/", "README", "web/", "docs/trunk", "trunks/a", "mytrunk/a/"] {
        assert_eq!(at(outside), None, "{outside}");
    }
}

#[test]
fn each_project_gets_its_own_and_the_repository_the_rest() {
    let found = read(
        "A   docs/\nA   web/\nA   web/spog/\nA   web/spog/trunk/\nA   web/spog/trunk/f\nU   web-x/trunk/g\n_U  web-x/\n",
    );
    assert_eq!(
        names(&found),
        [
            ("", vec!["docs/", "web-x/"]),
            ("web-x", vec!["web-x/trunk/g"]),
            ("web/spog", vec!["web/", "web/spog/", "web/spog/trunk/", "web/spog/trunk/f"]),
        ]
    );
    assert_eq!(found[2].dirs, ["/", "web/", "web/spog/", "web/spog/trunk/"]);
    assert_eq!(found[0].dirs, ["/", "web-x/"]);
}

#[test]
fn lines_are_created_replaced_and_deleted() {
    let found = read(
        "D   a/trunk/\nA + a/trunk/\n    (from b/trunk/:r5)\nA + a/branches/x/\n    (from a/trunk/:r3)\nU   a/branches/x/f\n\
         D   a/tags/v1/\nU   a/tags/v0/f\n",
    );
    let lines: Vec<_> = found[0].lines.iter().map(|l| (l.kind, l.name.as_str(), l.change, l.copied.as_ref())).collect();
    assert_eq!(
        lines,
        [
            (LineKind::Trunk, "", LineChange::Replace, Some(&("b/trunk/".to_owned(), 5))),
            (LineKind::Branch, "x", LineChange::Create, Some(&("a/trunk/".to_owned(), 3))),
            (LineKind::Tag, "v0", LineChange::Update, None),
            (LineKind::Tag, "v1", LineChange::Delete, None),
        ]
    );
}

#[test]
fn a_hundred_thousand_paths_are_counted_and_few_are_kept() {
    let mut text = String::new();
    for number in 0..100_000 {
        writeln!(text, "A   app/trunk/{}/file {number}.txt", number / 1000).unwrap();
    }
    let found = projects(|| parse_changed(text.as_bytes()), 10, 1000);
    let [app] = &found.listed[..] else { panic!("{}", found.listed.len()) };
    assert_eq!((app.total_paths, app.paths.len(), app.total_dirs, app.dirs.len()), (100_000, 1000, 100, 100));

    let many: String = (0..5000).map(|number| format!("A   p{number}/trunk/f\n")).collect();
    let found = projects(|| parse_changed(many.as_bytes()), 10, 1000);
    assert_eq!((found.listed.len(), found.total), (10, 5000));
}

#[test]
fn svnlook_is_found_without_a_path() {
    let found = find_svnlook(None);
    assert_eq!(found, Some(PathBuf::from("/usr/bin/svnlook")).filter(|file| file.is_file()).or(found.clone()));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("svnlook"), "").unwrap();
    assert_eq!(find_svnlook(Some(folder.path().as_os_str())), Some(folder.path().join("svnlook")));
    // A relative folder would be one of the repository's.
    assert_ne!(find_svnlook(Some(OsStr::new("."))), Some(PathBuf::from("./svnlook")));
}

proptest! {
    #[test]
    fn every_path_is_told_once(paths in prop::collection::vec("(a|b c|trunk|tags|branches|é|x\u{fffd}){1}(/(a|trunk|tags|v1)){0,4}/?", 0..30)) {
        let text: String = paths.iter().map(|path| format!("U   {path}\n")).collect();
        let found = read(&text);
        prop_assert_eq!(found.iter().map(|project| project.total_paths).sum::<u64>(), paths.len() as u64);
        for project in &found {
            for changed in &project.paths {
                prop_assert!(changed.path.starts_with(&project.directory));
            }
        }
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "(A   |A \\+ |    \\(from |:r1\\)|trunk/|tags/|/|\n|\\PC){0,60}") {
        for bytes in [&bytes[..], text.as_bytes()] {
            let _ = parse_info(bytes);
            let _ = projects(|| parse_changed(bytes), 2, 2);
        }
    }
}
