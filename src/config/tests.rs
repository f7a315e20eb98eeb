use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::*;

/// A machine's `/etc/failcake` in a scratch folder, and an environment to read it in.
struct Place {
    folder: tempfile::TempDir,
    env: Vec<(&'static str, OsString)>,
}

impl Place {
    fn new(main: &str) -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap(), env: Vec::new() };
        // Otherwise a person's own configuration would count.
        let place = place.env("XDG_CONFIG_HOME", "/nonexistent").env("HOME", "/home/ann");
        place.file("failcake.yaml", main)
    }

    fn file(self, name: &str, text: &str) -> Place {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Place {
        self.env.push((name, value.into()));
        self
    }

    fn read<T>(&self, read: impl Fn(&Source, Env, &Path) -> Result<T, Error>) -> Result<T, String> {
        let env = |name: &str| self.env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
        let machine = self.folder.path();
        read(&Source { file: None }, &env, machine)
            .map_err(|error| error.0.replace(&format!("{}/", machine.display()), ""))
    }

    fn load(&self) -> Result<Config, String> {
        self.read(Source::load_in)
    }

    fn bus(&self) -> Result<Bus, String> {
        self.read(Source::bus_in)
    }
}

fn mistake(main: &str) -> String {
    Place::new(main).load().unwrap_err()
}

#[test]
fn no_file_and_an_empty_file_mean_the_defaults() {
    for main in ["", "# nothing yet\n", "---\n", "{}\n", "repos:\nsites:\ntopics:\n"] {
        let config = Place::new(main).load().unwrap_or_else(|error| panic!("{main:?}: {error}"));
        assert_eq!(config.bus.broker.hosts[0].host, "localhost", "{main:?}");
        assert_eq!(config.bus.broker.hosts[0].port, 61613);
        assert_eq!(config.bus.topics.get("commits"), "/topic/failcake.git.commits");
        assert_eq!(config.reconcile, Duration::from_secs(300));
        assert!(config.repos.is_empty());
    }
    let place = Place::new("");
    std::fs::remove_file(place.folder.path().join("failcake.yaml")).unwrap();
    assert!(place.bus().is_ok());
    assert!(place.load().unwrap().files.is_empty());
}

/// The contract's own example, with names of files that are there.
const WHOLE: &str = r#"
broker: stomp://broker01:61614
passcode-file: passcode
ca-file: ca.pem
prefix: future
topics: { jenkins-failure: /topic/future.jenkins.cake }
spool: /var/spool/elsewhere
durable: true
reconcile: 90s

repos:
  spog:
    path: /data/repos/spog
    url: git@git.example.org:spog
    user: www-data
    mode: puppetmaster
    target: /etc/puppet/environments
    listen: jenkins-success
  web/site: { path: /data/repos/site }

sites:
  www.example.org:
    repo: spog
    path: /data/sites/www.example.org
    user: www-data
    keep: 7
    shared: [uploads, ./config//local.php]
    scripts: deploy/
    grace: 0
    drain: [/usr/local/bin/lb, out]

node: web01
inventory:
  web01: { groups: [web], facts: { dc: lon, rack: 12 } }
signing:
  key: id_ed25519
  principal: ops@example.org
  allowed-signers: /etc/failcake/allowed_signers
facts-file: facts.yaml
allow:
  - { who: ops@example.org, sites: ['www.*'], hosts: ['web*'] }
  - { who: desk@example.org, access: [preview], hosts: ['*'] }

webhook:
  secret-file: webhook.secret

keepalive:
  - { destination: /topic/future.git.commits }
  - { destination: /queue/future.randomqueue.dev, broker: 'stomp://broker01:61613', passcode-file: queue.passcode }

access:
  preview: { type: nginx, file: /etc/nginx/preview.access }
  shop:
    type: haproxy
    file: /etc/haproxy/shop.access
    check: [/usr/sbin/haproxy, -c, -f, '{file}']
    reload: [/usr/bin/systemctl, reload, haproxy]
    accept-cleartext: true

packages:
  repository: /var/www/repo
  incoming: /home/jenkins-ci
  interest: [ { name: 'myapp*', distribution: bookworm, list: /etc/apt/sources.list.d/ours.list } ]

jenkins:
  url: https://jenkins.example.org
  user: failcake
  token-file: jenkins.token
  projects:
    spog: { job: spog-tests, ignore-refs: '^refs/tags/jenkins-' }
"#;

#[test]
fn every_key_of_the_contract_is_understood() {
    let place = Place::new(WHOLE).file("passcode", "geheim\n");
    let config = place.load().unwrap();
    let folder = place.folder.path();
    assert_eq!(config.bus.passcode, Some(Secret("geheim".to_owned())));
    assert_eq!(config.bus.tls.ca_file, Some(folder.join("ca.pem")));
    assert_eq!(config.bus.topics.get("jenkins-failure"), "/topic/future.jenkins.cake");
    assert_eq!(config.bus.topics.get("events-fetch"), "/topic/future.events.stomp-git");
    assert_eq!(config.bus.spool.parent, Path::new("/var/spool/elsewhere"));
    let spog = &config.repos[&"spog".parse().unwrap()];
    assert_eq!((spog.mode, spog.listen.as_str()), (Mode::Branches, "jenkins-success"));
    assert_eq!(config.repos[&"web/site".parse().unwrap()].mode, Mode::Fetch);
    let site = &config.sites[&"www.example.org".parse().unwrap()];
    assert_eq!(site.shared, [Path::new("uploads"), Path::new("config/local.php")]);
    assert_eq!((site.keep, site.grace), (7, Duration::ZERO));
    assert_eq!(config.inventory[&"web01".parse().unwrap()].facts["rack"], "12");
    assert_eq!(config.signing.key, Some(folder.join("id_ed25519")));
    let (ops, desk) = ("ops@example.org".parse().unwrap(), "desk@example.org".parse().unwrap());
    assert_eq!(config.signing.principal.as_ref(), Some(&ops));
    let (www, preview) = ("www.example.org".parse().unwrap(), "preview".parse().unwrap());
    let [web, db] = ["web01", "db01"].map(|node| node.parse().unwrap());
    let may = |rule: usize, who, site, host| {
        (config.allow[rule].deploys(who, site, host), config.allow[rule].grants(who, site, host))
    };
    assert_eq!(may(0, &ops, &www, &web), (true, false));
    assert_eq!(may(0, &ops, &www, &db), (false, false));
    assert_eq!(may(0, &desk, &www, &web), (false, false));
    assert_eq!(may(1, &desk, &preview, &db), (false, true));
    assert_eq!(may(1, &desk, &www, &db), (false, false));
    let shop = &config.access[&"shop".parse().unwrap()];
    assert_eq!((shop.check[3].as_str(), shop.reload[1].as_str(), shop.accept_cleartext), ("{file}", "reload", true));
    assert!(!config.access[&preview].accept_cleartext);
    assert_eq!(config.facts_file, Some(folder.join("facts.yaml")));
    assert_eq!(site.drain, ["/usr/local/bin/lb", "out"]);
    assert_eq!(config.keepalive[1].passcode, Some(SecretFile(folder.join("queue.passcode"))));
    assert_eq!(config.jenkins.projects[&"spog".parse().unwrap()].jobs[0].as_str(), "spog-tests");
    assert_eq!(config.packages.interest[0].distribution.as_ref().unwrap().as_str(), "bookworm");
}

#[test]
fn an_unknown_key_is_told_with_its_nearest_its_file_and_its_line() {
    assert_eq!(mistake("prefix: x\nbrokr: y\n"), r#"failcake.yaml:2: unknown key "brokr": did you mean "broker"?"#);
    assert_eq!(
        mistake("repos:\n  spog:\n    path: /a\n    tagret: /b\n"),
        r#"failcake.yaml:4: unknown key "tagret": did you mean "target"?"#
    );
    assert_eq!(
        mistake("topics: { jenkins-cake: /topic/x }\n"),
        r#"failcake.yaml:1: unknown key "jenkins-cake": did you mean "jenkins-failure"?"#
    );
    assert_eq!(
        mistake("signing:\n  zebra: 1\n"),
        r#"failcake.yaml:2: unknown key "zebra": here may stand key, principal, allowed-signers"#
    );
}

#[test]
fn a_wrong_value_is_told_with_its_key_its_file_and_its_line() {
    for (main, told) in [
        ("a: [", "failcake.yaml:1"),
        ("durable: maybe\n", "failcake.yaml:1: durable: "),
        ("prefix: x\n\nheart-beat: soon\n", "failcake.yaml:3: heart-beat: "),
        ("reconcile: 5\n", "failcake.yaml:1: reconcile: \"5\" is no duration"),
        ("sites:\n  www:\n    keep: five\n", "failcake.yaml:3: keep: "),
        ("sites:\n  www:\n    shared:\n      - a\n      - ../b\n", "failcake.yaml:5: shared: \"../b\" leaves"),
        ("sites:\n  www:\n    shared: [a, /b]\n", "failcake.yaml:3: shared: \"/b\" leaves"),
        (
            "sites:\n  www:\n    mode: inplace\n",
            "failcake.yaml:3: mode: there is no mode \"inplace\": did you mean \"in-place",
        ),
        (
            "sites:\n  www:\n    required: [postdeploy]\n",
            "failcake.yaml:3: required: there is no script \"postdeploy\"",
        ),
        ("sites:\n  www:\n    on-post-failure: stay\n", "failcake.yaml:3: on-post-failure: there is no"),
        (
            "repos: { s: { path: /a } }\nsites: { www: { path: /b, repo: s, mode: in-place, shared: [a] } }\n",
            "failcake.yaml:2: site www has mode: in-place, where nothing is replaced and shared: has no use",
        ),
        ("repos: { spog: { path: repos/spog } }\n", "failcake.yaml:1: path: \"repos/spog\" is no absolute path"),
        ("repos: { spog: { mode: branchs } }\n", "failcake.yaml:1: mode: there is no mode \"branchs\": did you mean"),
        ("repos: { spog: { listen: commit } }\n", "failcake.yaml:1: listen: there is no topic \"commit\""),
        ("repos: { ../spog: { path: /a } }\n", "failcake.yaml:1: "),
        ("repos: { spog: { url: --upload-pack=x } }\n", "failcake.yaml:1: url: "),
        ("repos: { spog: { branch: a..b } }\n", "failcake.yaml:1: branch: "),
        ("repos: [spog]\n", "failcake.yaml:1: repos: "),
        ("topics: { commits: \"a\\nb\" }\n", "failcake.yaml:1: commits: "),
        ("broker: ''\n", "failcake.yaml:1: broker: "),
        ("allow: [ { who: ann, sites: ['*'] } ]\n", "failcake.yaml:1: the key \"hosts\" is missing"),
        ("allow: [ { who: ann, hosts: ['*'] } ]\n", "allow: ann may do nothing: say sites: "),
        ("allow: [ { who: 'a*', sites: ['*'], hosts: ['*'] } ]\n", "failcake.yaml:1: who: \"a*\" is no principal"),
        ("access: { a: { type: nginx } }\n", "failcake.yaml:1: access a needs type (nginx or haproxy) and file"),
        (
            "access: { a: { type: nginx, file: /f, reload: [systemctl] } }\n",
            "failcake.yaml:1: reload: of access a is no command: name a program by its absolute path",
        ),
        (
            "access: { a: { type: nginx, file: /f }, b: { type: haproxy, file: /f } }\n",
            "access a and access b have the same file /f: give each its own",
        ),
        ("prefix: a\nprefix: b\n", "failcake.yaml:2: the key \"prefix\" stands there twice"),
        ("repos:\n  a: { path: /a }\n  a: { path: /b }\n", "failcake.yaml:3: the key \"a\" stands there twice"),
        ("prefix: a\n---\nprefix: b\n", "failcake.yaml:"),
        ("repos:\n  spog:\n", "failcake.yaml:2: repository spog has no path"),
        (
            "repos:\n  spog:\n    path: /a\n    mode: tags\n",
            "failcake.yaml:3: repository spog has mode tags and no target",
        ),
        ("sites: { www: { path: /a } }\n", "failcake.yaml:1: site www has no repo"),
        (
            "repos: { spog: { path: /a } }\nsites: { www: { path: /b, repo: spgo } }\n",
            "failcake.yaml:2: site www deploys the repository spgo, which is not in repos: did you mean spog?",
        ),
        (
            "repos: { s: { path: /a } }\nsites: { www: { path: /b, repo: s, shared: [a/b, a] } }\n",
            "failcake.yaml:2: site www shares a and a/b, one inside the other",
        ),
    ] {
        let message = mistake(main);
        assert!(message.starts_with(told), "{main:?}\n told {message:?}\nnot {told:?}");
    }
}

#[test]
fn a_passcode_is_never_in_a_message() {
    for main in ["passcode: [geheim]\n", "passcode: geheim\npasscode: x\n", "broker: 'stomp://u:geheim@[::1'\n"] {
        let message = mistake(main);
        assert!(!message.contains("geheim"), "{message}");
    }
    let config = Place::new("passcode: geheim\n").load().unwrap();
    assert!(!format!("{config:?}").contains("geheim"));
}

#[test]
fn drop_ins_are_merged_key_by_key_in_the_order_of_their_names() {
    let place = Place::new("repos: { spog: { path: /a, user: ann, url: one } }\nreconcile: 1m\n")
        .file("conf.d/20-more.yaml", "repos:\n  spog: { url: three }\n  other: { path: /c }\nreconcile: 3m\n")
        .file("conf.d/10-spog.yaml", "repos: { spog: { url: two, user: bob } }\nreconcile: 2m\nallow: []\n")
        .file("conf.d/.30-hidden.yaml", "nonsense: true\n")
        .file("conf.d/40-note.txt", "nonsense: true\n");
    let config = place.load().unwrap();
    let spog = &config.repos[&"spog".parse().unwrap()];
    assert_eq!(spog.path, Path::new("/a"));
    assert_eq!((spog.url.as_deref(), spog.user.as_deref()), (Some("three"), Some("bob")));
    assert_eq!((config.repos.len(), config.reconcile), (2, Duration::from_secs(180)));
    let files: Vec<_> = config.files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(files, ["failcake.yaml", "10-spog.yaml", "20-more.yaml"]);
}

#[test]
fn lists_grow_and_projects_join_across_drop_ins() {
    let place = Place::new("jenkins: { url: 'http://j', projects: { a: { job: a } } }\nkeepalive: [{destination: /topic/a}]\npackages: { interest: [{name: a}] }\n")
        .file("conf.d/b.yaml", "jenkins: { user: u, projects: { a: { ignore-refs: x }, b: { job: b } } }\nkeepalive: [{destination: /topic/b}]\npackages: { interest: [{name: b}] }\n")
        .file("conf.d/c.yaml", "sites: {}\n");
    let config = place.load().unwrap();
    let jobs: Vec<_> = config
        .jenkins
        .projects
        .values()
        .map(|p| (p.jobs[0].as_str(), p.ignore_refs.as_ref().map(Pattern::as_str)))
        .collect();
    assert_eq!(jobs, [("a", Some("x")), ("b", None)]);
    assert_eq!((config.jenkins.url.as_deref(), config.jenkins.user.as_deref()), (Some("http://j"), Some("u")));
    assert_eq!(config.keepalive.len(), 2);
    assert_eq!(config.packages.interest.len(), 2);
}

#[test]
fn an_emitters_key_in_a_drop_in_is_refused_and_emitters_read_no_drop_in() {
    for key in ["prefix: other", "\"prefix\": other", "{ prefix: other }", "? prefix\n: other"] {
        let place = Place::new("prefix: main\n").file("conf.d/a.yaml", &format!("# more\n{key}\n"));
        let message = place.load().unwrap_err();
        assert!(message.starts_with("conf.d/a.yaml:"), "{message}");
        assert!(
            message.ends_with(
                ": prefix: can't stand in a drop-in: move it to the main file, the only one that emitters read"
            ),
            "{message}"
        );
        assert_eq!(place.bus().unwrap().topics.prefix, "main");
    }
}

#[test]
fn a_mistake_that_is_none_of_its_business_costs_an_emitter_no_event() {
    let place = Place::new("prefix: x\nsites: { www: { kep: 5 } }\nrepos: [1, 2]\nreconcile: never\n");
    assert_eq!(place.bus().unwrap().topics.prefix, "x");
    assert!(place.load().is_err());
    assert!(Place::new("prefix: x\nbrokr: y\n").bus().is_err(), "this may well have been meant for it");
}

#[test]
fn an_emitter_skips_what_it_does_not_need_and_misses_nothing_that_it_does() {
    // What is skipped may hold anything that looks like a key, and what is kept may be spread over lines.
    let main = "# first\nrepos:\n# a comment at the margin\n  spog:\n\n    path: /a\n  prefix: { path: /b }\nallow:\n- { who: a }\n\
                prefix:\n  future\ntopics:\n  commits: /topic/x\nsites:\n  x: 1\nvhost: v\n";
    let bus = Place::new(main).bus().unwrap();
    assert_eq!((bus.topics.prefix.as_str(), bus.vhost.as_str()), ("future", "v"));
    assert_eq!(bus.topics.get("commits"), "/topic/x");
    let anchored = "repos:\n  spog: { path: &place /a }\nspool: *place\n";
    assert_eq!(Place::new(anchored).bus().unwrap().spool.parent, Path::new("/a"));
    let wrong = Place::new("repos:\n  spog:\n    path: /a\nheart-beat: soon\nsitse:\n  x: 1\n").bus().unwrap_err();
    assert!(wrong.starts_with("failcake.yaml:4: heart-beat: "), "{wrong}");
    let unknown = Place::new("repos:\n  spog:\n    path: /a\nsitse:\n  x: 1\n").bus().unwrap_err();
    assert_eq!(unknown, "failcake.yaml:4: unknown key \"sitse\": did you mean \"sites\"?");
}

#[test]
fn the_environment_comes_first_and_an_empty_variable_is_unset() {
    let main = "broker: stomp://one:1\nspool: /a\npasscode-file: not-there\n";
    let place = Place::new(main)
        .env("FAILCAKE_BROKER", "stomp://two:2")
        .env("FAILCAKE_SPOOL", "/b")
        .env("FAILCAKE_PASSCODE", "geheim");
    let bus = place.bus().unwrap();
    assert_eq!(bus.broker.hosts[0].host, "two");
    assert_eq!(bus.spool.parent, Path::new("/b"));
    assert_eq!(bus.passcode, Some(Secret("geheim".to_owned())));
    let error = Place::new("").env("FAILCAKE_SPOOL", "b").bus().unwrap_err();
    assert_eq!(error, "$FAILCAKE_SPOOL: b is no absolute path");
    assert_eq!(process_env("PATH"), std::env::var_os("PATH"));
}

#[test]
fn secrets_lose_their_newline_and_a_bad_secret_file_says_so() {
    let place = Place::new("passcode-file: pass\n").file("pass", "a b\r\n");
    assert_eq!(place.bus().unwrap().passcode, Some(Secret("a b".to_owned())));
    let place = place.file("pass", "\n");
    assert!(place.bus().unwrap_err().ends_with("is empty: write the secret into it"));
    let message = Place::new("passcode-file: pass\n").bus().unwrap_err();
    assert_eq!(message, "can't read the secret file pass: No such file or directory (os error 2)");
    let both = Place::new("passcode-file: pass\npasscode: x\n").bus().unwrap_err();
    assert_eq!(both, "passcode: and passcode-file: are both there: keep one");
}

#[test]
fn a_named_file_is_read_alone_and_must_be_there() {
    let place =
        Place::new("prefix: machine\n").file("conf.d/a.yaml", "nonsense: 1\n").file("own.yaml", "prefix: own\n");
    let own = place.folder.path().join("own.yaml");
    let place = place.env("FAILCAKE_CONFIG", own.clone());
    assert_eq!(place.load().unwrap().bus.topics.prefix, "own");
    let source = Source { file: Some(place.folder.path().join("gone.yaml")) };
    let error = source.load_in(&|_| Some(own.clone().into()), place.folder.path()).unwrap_err();
    assert!(error.0.contains("gone.yaml: No such file"), "-c counts more than the environment: {error}");
}

#[test]
fn a_file_that_is_no_text_or_a_folder_is_told() {
    let place = Place::new("");
    std::fs::write(place.folder.path().join("failcake.yaml"), b"prefix: a\nnode: \xff\n").unwrap();
    assert_eq!(place.load().unwrap_err(), "failcake.yaml:2: the configuration is not UTF-8 text");
    let place = Place::new("").file("conf.d/x.yaml/inner", "");
    assert!(place.load().unwrap_err().contains("conf.d/x.yaml: Is a directory"));
}

#[test]
fn jenkins_projects_say_which_refs_start_which_jobs_with_what() {
    let place = Place::new(
        "jenkins:\n  url: https://j/\n  user: ann\n  token-file: t\n  ca-file: ca.pem\n  projects:\n    spog:\n      \
         jobs: [team/spog, 'team/spog lint/{branch}']\n      only-refs: ^refs/heads/\n      parameters: { REF: '{ref}', WHAT: 'by {who}' }\n    \
         docs: { repo: spog, job: docs }\n",
    );
    let config = place.load().unwrap();
    let shown = config.to_json();
    let spog = &config.jenkins.projects[&"spog".parse().unwrap()];
    assert_eq!(spog.jobs.iter().map(JobName::as_str).collect::<Vec<_>>(), ["team/spog", "team/spog lint/{branch}"]);
    assert!(spog.only_refs.as_ref().unwrap().fits("refs/heads/x"));
    assert_eq!(config.jenkins.projects[&"docs".parse().unwrap()].repo, spog.repo);
    assert_eq!(
        shown["jenkins"]["projects"],
        serde_json::json!({
            "docs": { "repo": "spog", "job": "docs" },
            "spog": {
                "jobs": ["team/spog", "team/spog lint/{branch}"], "only-refs": "^refs/heads/",
                "parameters": { "REF": "{ref}", "WHAT": "by {who}" },
            },
        })
    );
    for (project, said) in [
        ("ignore-refs: '('", r#"failcake.yaml:3: ignore-refs: "(" is no regular expression"#),
        ("job: a//b", r#"failcake.yaml:3: job: "a//b" is no job"#),
        ("parameters: { A: '{comit}' }", r#"there is no word for braces "comit": did you mean "commit"?"#),
        ("only-ref: x", r#"unknown key "only-ref": did you mean "only-refs"?"#),
        ("parameters: { A: b }", "jenkins project a has no job"),
        ("{ job: a, jobs: [b] }", "has job: and jobs:, keep one"),
        ("{ job: a, parameters: { token: b } }", "called token"),
    ] {
        let project = project.strip_prefix('{').map_or_else(|| format!("{{ {project} }}"), |rest| format!("{{{rest}"));
        let error = mistake(&format!("jenkins:\n  projects:\n    a: {project}\n"));
        assert!(error.contains(said), "{project}: {error}");
    }
    let error = mistake("jenkins: { url: 'https://ann:sesame@j/' }\n");
    assert!(error.contains("move it to user:") && !error.contains("sesame"), "{error}");
}

#[test]
fn packages_have_defaults_and_names_that_are_checked_where_they_are_read() {
    let place = Place::new(
        "packages:\n  repository: /r\n  archive: /a\n  user: repo\n  interest:\n  - { name: 'myapp*', distribution: sid }\n",
    );
    let config = place.load().unwrap();
    let packages = &config.packages;
    let second = Duration::from_secs(1);
    assert_eq!((packages.rest, packages.patience, packages.timeout), (2 * second, 3600 * second, 600 * second));
    assert_eq!((packages.splay, packages.user.as_deref()), (5 * second, Some("repo")));
    assert!(packages.interest[0].name.matches("myapp-data"));
    let shown = &config.to_json()["packages"];
    assert_eq!((&shown["archive"], &shown["rest"], &shown["patience"]), (&"/a".into(), &"2s".into(), &"1h".into()));
    assert_eq!(shown["interest"], serde_json::json!([{ "name": "myapp*", "distribution": "sid" }]));
    for (keys, said) in [
        ("archive: relative", "archive: \"relative\" is no absolute path"),
        ("rest: 2", "rest: \"2\" is no duration"),
        ("archiv: /a", "unknown key \"archiv\": did you mean \"archive\"?"),
        ("interest: [{ name: a, distribution: ../x }]", "\"../x\" is no distribution"),
        ("interest: [{ name: '' }]", "is no pattern"),
    ] {
        let error = mistake(&format!("packages:\n  {keys}\n"));
        assert!(error.contains(said), "{keys}: {error}");
    }
}
