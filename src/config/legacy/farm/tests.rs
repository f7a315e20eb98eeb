use std::path::{Path, PathBuf};

use crate::config::{Config, Source, import};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/legacy").join(name)
}

fn load(path: &Path) -> Result<Config, String> {
    let loaded = Source { file: Some(path.to_owned()) }.load_in(&|_| None, Path::new("/nonexistent"));
    let folder = format!("{}/", path.parent().unwrap().display());
    loaded.map_err(|error| error.0.replace(&folder, ""))
}

/// A file of that text, named after its site.
fn site(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("www.yaml");
    std::fs::write(&path, text).unwrap();
    load(&path)
}

/// The farm as the configuration shows it.
fn shown(config: &Config, name: &str) -> serde_json::Value {
    config.to_json()["sites"][name].clone()
}

const ROOTS: &str = "site-root: /s\nrepo-root: /r\ndeploy-root: /d\nuser-root: /u\n";

#[test]
fn a_site_file_is_a_farm_as_it_is() {
    let config = load(&fixture("www.example.org.yaml")).unwrap();
    let paths: Vec<_> = config.repos.iter().map(|(name, repo)| (name.as_str(), repo.path.to_str().unwrap())).collect();
    assert_eq!(paths, [("blog", "/data/repo/blog"), ("blog-editor", "/data/repo/blog-editor")]);
    assert_eq!(config.bus.broker.to_string(), "stomp://localhost:61613", "it says nothing of a broker");
    let wanted = serde_json::json!({
        "path": "/data/deploy/www.example.org",
        "farm": {
            "repos": [
                { "repo": "blog", "target": ".", "base": "3.4.1-ours" },
                { "repo": "blog-editor", "target": "wp-content/plugins/editor", "base": "3.4" },
            ],
            "user-root": "/data/user",
            "directories": [
                { "source": "blog-uploads", "target": "wp-content/uploads" },
                { "source": "blog-films", "target": "wp-content/films" },
            ],
        },
        "scripts": "control",
        "required": ["pre-deploy", "pre-link", "post-deploy"],
        "keep": 5, "grace": "1m", "timeout": "10m", "mode": "releases", "on-post-failure": "switch-back",
    });
    assert_eq!(shown(&config, "www.example.org"), wanted);
}

#[test]
fn it_is_joined_with_the_files_of_the_agent_and_of_the_fetching_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let git = folder.path().join("stomp-git.yaml");
    let text = "rserver: failover://(stomp://gituser:gitpw@broker01:61613,stomp://gituser:gitpw@broker02:61613)\n\
                listen-topic: future.git.commits\nrepo-list:\n  blog: { user: www-data, repo: /data/repo/blog, mode: normal }\n";
    std::fs::write(&git, text).unwrap();
    let agent = "rserver: failover://(stomp://gituser:gitpw@broker01:61613,stomp://gituser:gitpw@broker02:61613)\n\
                 report-topic: future.events.deploys\n";
    let agent_file = folder.path().join("git-agent.yaml");
    std::fs::write(&agent_file, agent).unwrap();
    for files in [
        [fixture("www.example.org.yaml"), agent_file.clone(), git.clone()],
        [git.clone(), agent_file.clone(), fixture("www.example.org.yaml")],
    ] {
        let output = folder.path().join("failcake.yaml");
        import(&files).unwrap().write(&output, true).unwrap();
        let config = load(&output).unwrap();
        let blog = &config.repos[&"blog".parse().unwrap()];
        assert_eq!((blog.user.as_deref(), blog.path.to_str()), (Some("www-data"), Some("/data/repo/blog")));
        assert!(config.repos.contains_key(&"blog-editor".parse().unwrap()));
        assert_eq!(config.bus.topics.get("events-deploys"), "/topic/future.events.deploys");
        assert_eq!(shown(&config, "www.example.org")["farm"]["repos"][0]["repo"], "blog");
    }
    std::fs::write(&git, text.replace("/data/repo/blog", "/srv/blog")).unwrap();
    let error = import(&[fixture("www.example.org.yaml"), git]).unwrap_err().0;
    assert!(error.contains("differ in the repository blog"), "{error}");
}

#[test]
fn the_agents_own_file_tells_its_topic() {
    let config = load(&fixture("git-agent.yaml")).unwrap();
    assert_eq!(config.bus.topics.get("events-deploys"), "/topic/future.events.deploys");
    assert_eq!(config.bus.topics.get("events-git"), "/topic/future.events.gitolite", "and no other");
}

#[test]
fn what_is_beside_the_sites_own_folder_makes_the_release_what_site_root_was() {
    let text = format!(
        "{ROOTS}repo-list:\n- {{ name: app, target: /www/ }}\n- {{ name: lib, target: library }}\n\
         directorymap:\n- {{ source: files, target: uploads }}\ncontroldir: /etc/control\n"
    );
    let site = shown(&site(&text).unwrap(), "www");
    assert_eq!(site["farm"]["repos"][0]["target"], "www");
    assert_eq!(site["farm"]["repos"][1]["target"], "library");
    assert_eq!(site["farm"]["directories"][0]["target"], "www/uploads");
    assert_eq!((&site["scripts"], &site["path"]), (&"/etc/control".into(), &"/d/www".into()));
}

#[test]
fn versions_are_read_as_ruby_printed_them() {
    for (word, read) in
        [("3.40", "3.4"), ("3.0", "3.0"), ("2012", "2012"), ("'3.40'", "3.40"), ("2012-04-19", "2012-04-19")]
    {
        let text = format!("{ROOTS}repo-list:\n- name: app\n  target: www\n  base_tag: {word}\n");
        assert_eq!(shown(&site(&text).unwrap(), "www")["farm"]["repos"][0]["base"], read, "{word}");
    }
}

#[test]
fn what_could_never_work_is_refused_and_says_where() {
    let app = "repo-list:\n- { name: app, target: www }\n";
    for (text, wanted) in [
        (format!("repo-root: /r\n{app}"), "deploy-root: is missing in the file of a site"),
        (ROOTS.to_owned(), "repo-list: is missing in the file of a site"),
        (format!("{ROOTS}repo-list: {{ app: {{ target: www }} }}\n"), "www.yaml:5: repo-list: a list is wanted"),
        (format!("{ROOTS}repo-list:\n- {{ target: www }}\n"), "www.yaml:6: name: a repository has none"),
        (format!("{ROOTS}repo-list:\n- {{ name: ../../etc, target: www }}\n"), "www.yaml:6: name: \"..\""),
        (
            format!("{ROOTS}repo-list:\n- {{ name: app, target: ../../etc }}\n"),
            "www.yaml:6: target: \"../../etc\" leaves",
        ),
        (
            format!("{ROOTS}repo-list:\n- {{ name: app, target: www, base_tag: 'a b' }}\n"),
            "www.yaml:6: base_tag: \"a b\" is no tag",
        ),
        (
            format!("{ROOTS}{app}directorymap:\n- {{ source: ../x, target: y }}\n"),
            "www.yaml:8: source: \"../x\" leaves",
        ),
        (format!("{ROOTS}{app}directorymap:\n- {{ source: x }}\n"), "www.yaml:8: target: is missing"),
        (
            format!("repo-root: /r\ndeploy-root: /d\n{app}directorymap:\n- {{ source: x, target: y }}\n"),
            "user-root: is missing",
        ),
        (format!("repo-root: r\ndeploy-root: /d\n{app}"), "www.yaml:1: repo-root: \"r\" is no absolute path"),
        (format!("{ROOTS}{app}sites: {{}}\nprefix: x\n"), "prefix: is a key of today"),
    ] {
        let error = site(&text).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a site.yaml");
    std::fs::write(&path, format!("{ROOTS}{app}")).unwrap();
    assert!(load(&path).unwrap_err().contains("is named after the site"));
}
