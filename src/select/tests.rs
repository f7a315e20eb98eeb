use super::*;

#[test]
fn smoke() {
    let name: NodeName = "web01".parse().unwrap();
    let facts = BTreeMap::from([("dc".to_owned(), "lon".to_owned())]);
    let it = Candidate { name: &name, groups: &["web".to_owned()], facts: &facts };
    assert!("web and dc=l*".parse::<Filter>().unwrap().matches(&it));
    println!("{}", "web* ad dc=lon".parse::<Filter>().unwrap_err());
}
