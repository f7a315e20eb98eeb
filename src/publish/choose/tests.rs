use super::*;

#[test]
fn names_of_directories() {
    let plain = |short: &str| dir_name(short, "", DirNames::Plain);
    for (short, dir) in [
        ("master", "master"),
        ("feature/x", "feature_x"),
        ("rel-1.0", "rel-1.0"),
        ("-fr", "_fr"),
        ("ünï", "ünï"),
        ("a b", "a_b"),
        ("x;$(touch)`'\"&|<>*?\\", "x___touch___________"),
    ] {
        assert_eq!(plain(short).unwrap(), dir);
    }
    assert_eq!(dir_name("rel-1.0", "web_", DirNames::Puppet).unwrap(), "web_rel_1_0");
    assert_eq!(dir_name("ünï", "", DirNames::Puppet).unwrap(), "_n_");
    assert!(plain(&"x".repeat(NAME_MAX + 1)).is_err());
}
