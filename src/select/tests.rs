use proptest::prelude::*;

use super::*;

/// A host of the fleet below.
struct Machine {
    name: NodeName,
    groups: Vec<String>,
    facts: BTreeMap<String, String>,
}

fn machine(name: &str, groups: &[&str], facts: &[(&str, &str)]) -> Machine {
    Machine {
        name: name.parse().unwrap(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        facts: facts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    }
}

fn fleet() -> Vec<Machine> {
    vec![
        machine("db01", &["db"], &[("dc", "lon"), ("role", "db")]),
        machine("db02", &["db"], &[("dc", "ams"), ("role", "db")]),
        machine("mail", &[], &[("motto", "send, or be sent"), ("os", "")]),
        machine("web01", &["web", "mail"], &[("dc", "lon"), ("role", "web")]),
        machine("web02", &["web"], &[("dc", "ams"), ("role", "web")]),
        machine("web03", &["web"], &[("role", "web")]),
    ]
}

fn candidates(fleet: &[Machine]) -> Vec<Candidate<'_>> {
    fleet.iter().map(|it| Candidate { name: &it.name, groups: &it.groups, facts: &it.facts }).collect()
}

fn with_files(text: &str) -> Result<Filter, BadFilter> {
    Filter::parse(text, &mut |path| match path.to_str() {
        Some("hosts.txt") => Ok("\u{feff}# the old ones\r\nweb02   # in Amsterdam\r\n\r\n  db*\r\n".to_owned()),
        Some("my hosts") => Ok("web01".to_owned()),
        Some("empty") => Ok("# nobody\n".to_owned()),
        Some("odd") => Ok("web01\nweb02 web03\n".to_owned()),
        Some("deep") => Ok("@hosts.txt\n".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    })
}

/// The hosts that `text` means; every word of it means something.
fn chosen(text: &str) -> String {
    let fleet = fleet();
    let selection = with_files(text).unwrap_or_else(|error| panic!("{text}\n{error}")).select(&candidates(&fleet));
    assert_eq!(selection.unknown, [], "{text}");
    selection.hosts.iter().map(NodeName::as_str).collect::<Vec<_>>().join(" ")
}

fn mistake(text: &str) -> String {
    match with_files(text) {
        Ok(filter) => panic!("{text:?} was read as {filter:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_people_type() {
    for (text, hosts) in [
        ("web01", "web01"),
        ("web*", "web01 web02 web03"),
        ("*", "db01 db02 mail web01 web02 web03"),
        ("db0?", "db01 db02"),
        ("web", "web01 web02 web03"),
        ("role=web and dc!=lon", "web02 web03"),
        ("role=web and not dc=lon", "web02 web03"),
        ("dc=lon or dc=ams", "db01 db02 web01 web02"),
        ("dc=lon and role=web or mail", "mail web01"),
        ("dc=lon and (role=web or role=db)", "db01 web01"),
        ("not (web or db)", "mail"),
        ("not not mail", "mail"),
        ("web03 OR mail AND NOT db", "mail web03"),
        ("dc=l*", "db01 web01"),
        ("dc='l*' or mail", "mail"),
        ("group=w?b and name!=*3", "web01 web02"),
        ("os=''", "mail"),
        ("motto=\"send, or be sent\"", "mail"),
        ("'web01' , \"db01\"", "db01 web01"),
        ("(web*,db*) and not web03", "db01 db02 web01 web02"),
        ("@hosts.txt", "db01 db02 web02"),
        ("@'my hosts' or @hosts.txt and dc=ams", "db02 web01 web02"),
    ] {
        let mut names: Vec<_> = chosen(text).split(' ').map(str::to_owned).collect();
        names.sort();
        assert_eq!(names.join(" "), hosts, "{text}");
    }
}

#[test]
fn hosts_come_in_the_order_of_the_words_that_mean_them() {
    for (text, hosts) in [
        ("web03,web*", "web03 web01 web02"),
        ("web02,db,web01", "web02 db01 db02 web01"),
        ("mail or web03 or *", "mail web03 db01 db02 web01 web02"),
        ("dc=ams,web*", "db02 web02 web01 web03"),
        ("@hosts.txt", "web02 db01 db02"),
        ("web01,@hosts.txt,web02", "web01 web02 db01 db02"),
        ("web*,web01", "web01 web02 web03"),
    ] {
        assert_eq!(chosen(text), hosts, "{text}");
    }
}

#[test]
fn a_name_wins_over_a_group_of_the_same_name() {
    assert_eq!(chosen("mail"), "mail");
    assert_eq!(chosen("group=mail"), "web01");
    assert_eq!(chosen("name=mail or group=mail"), "mail web01");
    // Alone the host can't know of the other.
    let fleet = fleet();
    assert!("mail".parse::<Filter>().unwrap().matches(&candidates(&fleet)[3]));
}

#[test]
fn a_mistyped_word_is_told_and_not_passed_over() {
    let fleet = fleet();
    for (text, told) in [
        ("web01,wbe02", &[r#""wbe02" is neither a known host nor a group: did you mean "web02"?"#][..]),
        ("web* and not web30", &[r#""web30" is neither a known host nor a group: did you mean "web03"?"#]),
        ("not wbe", &[r#""wbe" is neither a known host nor a group: did you mean "web"?"#]),
        ("name!=elsewhere", &[r#""elsewhere" is no known host: correct it, or add it to the inventory"#]),
        ("web*,app*", &[r#"no known host's name matches "app*": correct it, or add it to the inventory"#]),
        ("group=wob", &[r#"no known host is in a group "wob": did you mean "web"?"#]),
        ("rol!=web", &[r#"no known host has a fact "rol": did you mean "role"?"#]),
        (
            "zzz,web01,yyy,zzz",
            &[
                r#""zzz" is neither a known host nor a group: correct it, or add it to the inventory"#,
                r#""yyy" is neither a known host nor a group: correct it, or add it to the inventory"#,
            ],
        ),
    ] {
        let selection = text.parse::<Filter>().unwrap().select(&candidates(&fleet));
        assert_eq!(selection.unknown.iter().map(Unknown::to_string).collect::<Vec<_>>(), told, "{text}");
    }
    let filter = Filter::parse("@h", &mut |_| Ok("web01\nweb09\n".to_owned())).unwrap();
    let unknown = &filter.select(&candidates(&fleet)).unknown[0];
    assert!(unknown.to_string().starts_with(r#""web09" is neither a known host nor a group (in h): did you mean"#));
    // A fact's value that nobody has is an answer: nobody.
    assert_eq!(chosen("dc=tokyo"), "");
    assert_eq!("(web01,web*) and not name=db01".parse::<Filter>().unwrap().literals(), ["db01", "web01"].into());
}

#[test]
fn a_mistake_is_told_with_its_place() {
    assert_eq!(
        mistake("role=web ad dc!=lon"),
        "write a comma, 'and' or 'or' before this\n  role=web ad dc!=lon\n           ^^"
    );
    assert_eq!(
        mistake("web*,db* and dc=lon"),
        "a comma beside 'and' or 'not' can be read in two ways: write parentheses, as in (web*,db*) and not web03\n  \
         web*,db* and dc=lon\n       ^^^"
    );
    for (text, what, place) in [
        ("", "the filter is empty", ""),
        (" \t", "the filter is empty", ""),
        ("web01,", "a host, group, pattern or fact is missing", "      ^"),
        (",web01", "a host, group, pattern or fact is missing", "^"),
        ("web01 and", "a host, group, pattern or fact is missing", "         ^"),
        ("()", "a host, group, pattern or fact is missing", " ^"),
        ("(web01", "this parenthesis is never closed", "^"),
        ("web01)", "closes none that was opened", "     ^"),
        ("(web01 web02)", "write a comma, 'and', 'or' or ) before this", "       ^^^^^"),
        ("web*,not web03", "a comma beside 'and' or 'not'", "     ^^^"),
        ("role==web", "write = to compare", "    ^^"),
        ("role=~web", "write = to compare", "    ^^"),
        ("=web", "Write a fact's name before it", "^"),
        ("a=b=c", "Write a fact's name before it", "   ^"),
        ("role=", "the value is missing", "    ^"),
        ("role=,web01", "the value is missing", "    ^"),
        ("role=and", "must be in quotes", "     ^^^"),
        ("role=@x", "must be in quotes", "     ^^"),
        ("ro*=web", "the left side is the name of one fact", "^^^"),
        ("!web01", "write 'not'", "^"),
        ("a && b", "write 'and'", "  ^^"),
        ("a | b", "write 'or'", "  ^"),
        ("cpus>4", "only = and !=", "    ^"),
        ("a;b", "write a comma", " ^"),
        ("web[01]", "patterns know only", "   ^"),
        ("web{1,2}", "patterns know only", "   ^"),
        ("a=$b", "must be in quotes: 'like this'", "  ^"),
        ("a='b", "this quote is never closed", "  ^"),
        ("''", "a name is missing between the quotes", "^^"),
        ("@", "name a file behind @", "^"),
        ("web01,@nowhere", "can't read the file nowhere: ", "      ^^^^^^^^"),
        ("@empty", "the file empty names no host", "^^^^^^"),
        ("@odd", "odd, line 2: a line is one name, group or pattern\n  web02 web03", "     ^"),
        ("@deep", "deep, line 1: a line is one name", "^"),
    ] {
        let told = mistake(text);
        assert!(told.contains(what), "{text}\n{told}");
        let caret = told.lines().nth(2).map(|line| &line[2..]).unwrap_or_default();
        assert_eq!(caret, place, "{text}\n{told}");
    }
    assert!("@hosts.txt".parse::<Filter>().unwrap_err().to_string().contains("files are not read here"));
    let deep = format!("{}web01{}", "(".repeat(100_000 / 2 - 10), ")".repeat(10));
    assert!(mistake(&deep).starts_with("more than 50 parentheses"));
    assert!(mistake(&"not ".repeat(1000)).starts_with("more than 50 parentheses"));
    assert!(mistake(&"a,".repeat(100_000)).starts_with("the filter is longer than"));
    // Only the place is quoted of a long one.
    let told = mistake(&format!("{}web01 web02{}", "web01,".repeat(100), ",web03".repeat(100)));
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[1].starts_with("  …") && lines[1].ends_with('…') && lines[1].len() < 130, "{told}");
    let at = lines[2].find('^').unwrap();
    assert_eq!(lines[1].chars().skip(at).take(5).collect::<String>(), "web02", "{told}");
    assert!(mistake("a\nb\u{7} c$").lines().count() == 3);
}

#[test]
fn ten_thousand_names_in_a_file() {
    let fleet: Vec<Machine> = (0..10_000).map(|number| machine(&format!("n{number:05}"), &[], &[])).collect();
    let names: Vec<&str> = fleet.iter().rev().map(|it| it.name.as_str()).collect();
    let filter = Filter::parse("@all", &mut |_| Ok(names.join("\n"))).unwrap();
    let selection = filter.select(&candidates(&fleet));
    assert_eq!(selection.unknown, []);
    assert!(selection.hosts.iter().map(NodeName::as_str).eq(names));
}

/// An expression, written with all its parentheses, beside what it means for each host of the fleet.
#[derive(Debug, Clone)]
struct Meant {
    text: String,
    hosts: Vec<bool>,
}

fn atoms() -> impl Strategy<Value = Meant> {
    type Means = fn(&Machine) -> bool;
    let known: [(&str, Means); 9] = [
        ("web*", |it| it.name.as_str().starts_with("web")),
        ("mail", |it| it.name.as_str() == "mail"),
        ("web", |it| it.groups.iter().any(|group| group == "web")),
        ("'db'", |it| it.groups.iter().any(|group| group == "db")),
        ("dc = lon", |it| it.facts.get("dc").is_some_and(|dc| dc == "lon")),
        ("dc!='lon'", |it| it.facts.get("dc").is_none_or(|dc| dc != "lon")),
        ("role=*b", |it| it.facts.contains_key("role")),
        ("group!=mail", |it| !it.groups.iter().any(|group| group == "mail")),
        ("name=*0?", |it| it.name.as_str() != "mail"),
    ];
    prop::sample::select(known.to_vec())
        .prop_map(|(text, means)| Meant { text: text.to_owned(), hosts: fleet().iter().map(means).collect() })
}

fn join(parts: Vec<Meant>, word: &str, means: fn(bool, bool) -> bool) -> Meant {
    let hosts =
        parts.iter().map(|it| it.hosts.clone()).reduce(|a, b| a.into_iter().zip(b).map(|(a, b)| means(a, b)).collect());
    let text = parts.iter().map(|it| it.text.as_str()).collect::<Vec<_>>().join(word);
    Meant { text: format!("({text})"), hosts: hosts.unwrap_or_default() }
}

fn expressions() -> impl Strategy<Value = Meant> {
    atoms().prop_recursive(5, 40, 4, |inner| {
        let several = || prop::collection::vec(inner.clone(), 1..4);
        let alone = |it: Meant| Meant { text: format!("({})", it.text), ..it };
        prop_oneof![
            several().prop_map(|parts| join(parts, " or ", |a, b| a || b)),
            several().prop_map(|parts| join(parts, " AND ", |a, b| a && b)),
            several().prop_map(move |parts| join(parts.into_iter().map(alone).collect(), " ,", |a, b| a || b)),
            inner.clone().prop_map(|it| Meant {
                text: format!("(not ({}))", it.text),
                hosts: it.hosts.iter().map(|meant| !meant).collect()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn an_expression_means_what_its_parts_mean(meant in expressions()) {
        let fleet = fleet();
        let filter: Filter = meant.text.parse().map_err(|error| TestCaseError::fail(format!("{error}")))?;
        let selection = filter.select(&candidates(&fleet));
        for (it, meant) in fleet.iter().zip(&meant.hosts) {
            prop_assert_eq!(selection.hosts.contains(&it.name), *meant, "{}", it.name);
        }
        prop_assert_eq!(selection.hosts.len(), meant.hosts.iter().filter(|meant| **meant).count());
        prop_assert_eq!(selection.unknown, []);
    }

    #[test]
    fn and_binds_before_or(parts in prop::collection::vec((atoms(), any::<bool>()), 1..6)) {
        let mut text = String::new();
        let mut groups: Vec<Vec<Meant>> = vec![Vec::new()];
        for (at, (atom, and)) in parts.into_iter().enumerate() {
            if at > 0 && !and {
                groups.push(Vec::new());
            }
            text += if at == 0 { "" } else if and { " and " } else { " or " };
            text += &atom.text;
            groups.last_mut().unwrap().push(atom);
        }
        let groups = groups.into_iter().map(|group| join(group, "", |a, b| a && b)).collect();
        let meant = join(groups, "", |a, b| a || b);
        let fleet = fleet();
        let selection = text.parse::<Filter>().unwrap().select(&candidates(&fleet));
        for (it, meant) in fleet.iter().zip(&meant.hosts) {
            prop_assert_eq!(selection.hosts.contains(&it.name), *meant, "{} in {}", it.name, text);
        }
    }

    #[test]
    fn whatever_is_typed_is_read_or_told(text in "([a-z*?@#]{1,4}|[ ,()=!'\"&|]|and|or|not|\n|\\PC){0,30}") {
        let fleet = fleet();
        let read = Filter::parse(&text, &mut |_| Ok(text.clone()));
        match read {
            Ok(filter) => drop(filter.select(&candidates(&fleet))),
            Err(error) => {
                let told = error.to_string();
                let lines: Vec<&str> = told.split('\n').collect();
                prop_assert!(matches!(lines.len(), 1 | 3), "{}", told);
                if let [_, quote, place] = lines[..] {
                    // At most one place behind the end: where something is missing.
                    prop_assert!(place.chars().count() <= quote.chars().count() + 1 && place.ends_with('^'), "{}", told);
                }
            }
        }
    }
}
