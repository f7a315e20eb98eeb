//! What a configuration file may hold, and how a later file is merged into an earlier one.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

pub use super::farm::FarmKeys;
use super::svn::{ExternalsWord, SvnUrl};
use super::word::{
    Absolute, AbsoluteOrBelow, AccessWord, Below, Branch, Broker, Destination, DirNamesWord, DirPrefix, GitUrl,
    JobWord, ModeWord, Near, PatternWord, PostFailureWord, Prefix, ScriptWord, SiteModeWord, Size, Span, TemplateWord,
    TopicKey, UserName, WebUrl,
};
use super::{Error, Secret};
use super::{legacy, mistake};
use crate::name::{Distribution, Glob, NodeName, Principal, RepoName, SiteName};

/// No configuration is larger; a device or a log file given by mistake is.
const MAX_BYTES: u64 = 16 << 20;

/// A section of which each key may be missing, and of which a later file's keys count.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub struct $name {
            $($(#[$attr])* pub $field: Option<$type>,)*
        }

        impl $crate::config::file::Merge for $name {
            fn merge_later(&mut self, later: Self) {
                $(if later.$field.is_some() { self.$field = later.$field; })*
            }
        }
    };
}

pub(super) use section;

pub trait Merge {
    fn merge_later(&mut self, later: Self);
}

/// A whole file. With `ALL` false, what no emitter needs is skipped unread: a mistake there is not its business, and
/// a hook should not pay for parsing it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct File<const ALL: bool> {
    // Emitters' keys: those of `BUS_KEYS`.
    pub broker: Option<Broker>,
    pub passcode: Option<String>,
    pub passcode_file: Option<Near>,
    pub ca_file: Option<Near>,
    pub tls_verify: Option<bool>,
    pub vhost: Option<String>,
    pub heart_beat: Option<Span>,
    pub budget: Option<Span>,
    pub prefix: Option<Prefix>,
    pub topics: Option<TopicKeys>,
    pub spool: Option<Absolute>,
    pub spool_max_count: Option<usize>,
    pub spool_max_bytes: Option<Size>,
    // Everyone else's.
    #[serde(default)]
    pub durable: Part<bool, ALL>,
    #[serde(default)]
    pub reconcile: Part<Span, ALL>,
    #[serde(default)]
    pub node: Part<NodeName, ALL>,
    #[serde(default)]
    pub repos: Part<BTreeMap<RepoName, Entry<RepoKeys>>, ALL>,
    #[serde(default)]
    pub sites: Part<BTreeMap<SiteName, Entry<SiteKeys>>, ALL>,
    #[serde(default)]
    pub inventory: Part<BTreeMap<NodeName, Entry<MachineKeys>>, ALL>,
    #[serde(default)]
    pub signing: Part<SigningKeys, ALL>,
    #[serde(default)]
    pub facts_file: Part<Near, ALL>,
    #[serde(default)]
    pub allow: Part<Vec<AllowKeys>, ALL>,
    #[serde(default)]
    pub webhook: Part<WebhookKeys, ALL>,
    #[serde(default)]
    pub keepalive: Part<Vec<KeepaliveKeys>, ALL>,
    #[serde(default)]
    pub access: Part<BTreeMap<SiteName, Entry<AccessKeys>>, ALL>,
    #[serde(default)]
    pub packages: Part<PackagesKeys, ALL>,
    #[serde(default)]
    pub jenkins: Part<JenkinsKeys, ALL>,
}

/// The keys that emitters need and that only the main file may therefore hold.
const BUS_KEYS: [&str; 13] = [
    "broker",
    "passcode",
    "passcode-file",
    "ca-file",
    "tls-verify",
    "vhost",
    "heart-beat",
    "budget",
    "prefix",
    "topics",
    "spool",
    "spool-max-count",
    "spool-max-bytes",
];

/// The others.
const OTHER_KEYS: [&str; 14] = [
    "durable",
    "reconcile",
    "node",
    "repos",
    "sites",
    "inventory",
    "signing",
    "facts-file",
    "allow",
    "webhook",
    "keepalive",
    "access",
    "packages",
    "jenkins",
];

/// May it stand at the top of a file?
pub fn is_key(key: &str) -> bool {
    BUS_KEYS.contains(&key) || OTHER_KEYS.contains(&key)
}

/// A part of the file; not even parsed when `READ` is false.
#[derive(Debug, Clone)]
pub struct Part<T, const READ: bool>(pub Option<T>);

impl<T, const READ: bool> Default for Part<T, READ> {
    fn default() -> Self {
        Part(None)
    }
}

impl<'de, T: Deserialize<'de>, const READ: bool> Deserialize<'de> for Part<T, READ> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if READ {
            return Ok(Part(Option::deserialize(deserializer)?));
        }
        IgnoredAny::deserialize(deserializer)?;
        Ok(Part(None))
    }
}

/// A named entry with where it stands, for mistakes that show only when all files are read.
#[derive(Debug, Clone)]
pub struct Entry<T> {
    pub keys: T,
    file: PathBuf,
    line: u64,
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Entry<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = serde_saphyr::Spanned::<Option<T>>::deserialize(deserializer)?;
        let line = found.referenced.line();
        Ok(Entry { keys: found.value.unwrap_or_default(), file: PathBuf::new(), line })
    }
}

impl<T> Entry<T> {
    /// `FILE:LINE` of its first key.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }
}

impl<T: Merge> Merge for Entry<T> {
    fn merge_later(&mut self, later: Self) {
        self.keys.merge_later(later.keys);
        self.file = later.file;
        self.line = later.line;
    }
}

section!(RepoKeys {
    path: Absolute,
    url: GitUrl,
    user: UserName,
    mode: ModeWord,
    target: Absolute,
    branch: Branch,
    listen: TopicKey,
    timeout: Span,
    secret_file: Near,
    only: Vec<Glob>,
    ignore: Vec<Glob>,
    prefix: DirPrefix,
    names: DirNamesWord,
    force: bool,
    grace: Span,
    exec: ExecKeys,
    svn: SvnUrl,
    login: UserName,
    password_file: Near,
    externals: ExternalsWord,
});

section!(
    /// `exec:` of a repository.
    ExecKeys {
        before: Vec<String>,
        after: Vec<String>,
        timeout: Span,
        retries: u32,
    }
);

section!(SiteKeys {
    repo: RepoName,
    farm: FarmKeys,
    path: Absolute,
    user: UserName,
    keep: usize,
    shared: Vec<Below>,
    scripts: AbsoluteOrBelow,
    grace: Span,
    timeout: Span,
    mode: SiteModeWord,
    required: Vec<ScriptWord>,
    on_post_failure: PostFailureWord,
    drain: Vec<String>,
    undrain: Vec<String>,
});

section!(MachineKeys {
    groups: Vec<String>,
    facts: BTreeMap<String, String>,
});

section!(SigningKeys { key: Near, principal: Principal, allowed_signers: Near });

section!(WebhookKeys { secret_file: Near });

section!(AccessKeys {
    r#type: AccessWord,
    file: Absolute,
    check: Vec<String>,
    reload: Vec<String>,
    accept_cleartext: bool,
});

section!(PackagesKeys {
    repository: Absolute,
    incoming: Absolute,
    archive: Absolute,
    user: UserName,
    rest: Span,
    patience: Span,
    timeout: Span,
    splay: Span,
    interest: Vec<InterestKeys>,
});

section!(JenkinsKeys {
    url: WebUrl,
    user: UserName,
    token_file: Near,
    ca_file: Near,
    projects: BTreeMap<RepoName, Entry<ProjectKeys>>,
});

section!(ProjectKeys {
    repo: RepoName,
    job: JobWord,
    jobs: Vec<JobWord>,
    ignore_refs: PatternWord,
    only_refs: PatternWord,
    parameters: BTreeMap<String, TemplateWord>,
    token_file: Near,
    /// From an old file, which has it in itself.
    #[serde(skip)]
    token: Secret,
});

/// One of `allow:`. A forgotten key must not mean "everywhere": without `sites` nothing may be deployed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AllowKeys {
    pub who: Principal,
    pub sites: Option<Vec<Glob>>,
    pub access: Option<Vec<Glob>>,
    pub hosts: Vec<Glob>,
}

/// One of `keepalive:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KeepaliveKeys {
    pub destination: Destination,
    pub broker: Option<Broker>,
    pub passcode_file: Option<Near>,
}

/// One of `packages: interest:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InterestKeys {
    pub name: Glob,
    pub distribution: Option<Distribution>,
    pub list: Option<Absolute>,
}

section!(
    /// `topics:`: the keys of [`super::Topics::KEYS`].
    TopicKeys {
        commits: Destination,
        jenkins_started: Destination,
        jenkins_success: Destination,
        jenkins_failure: Destination,
        packages: Destination,
        access: Destination,
        deploy_requests: Destination,
        deploy_replies: Destination,
        events_git: Destination,
        events_svn: Destination,
        events_webhook: Destination,
        events_jenkins: Destination,
        events_repository: Destination,
        events_fetch: Destination,
        events_access: Destination,
        events_deploys: Destination,
    }
);

impl TopicKeys {
    /// Those that are there, by key.
    pub fn renamed(self) -> BTreeMap<String, String> {
        let found = [
            ("commits", self.commits),
            ("jenkins-started", self.jenkins_started),
            ("jenkins-success", self.jenkins_success),
            ("jenkins-failure", self.jenkins_failure),
            ("packages", self.packages),
            ("access", self.access),
            ("deploy-requests", self.deploy_requests),
            ("deploy-replies", self.deploy_replies),
            ("events-git", self.events_git),
            ("events-svn", self.events_svn),
            ("events-webhook", self.events_webhook),
            ("events-jenkins", self.events_jenkins),
            ("events-repository", self.events_repository),
            ("events-fetch", self.events_fetch),
            ("events-access", self.events_access),
            ("events-deploys", self.events_deploys),
        ];
        found.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.0))).collect()
    }
}

impl<const ALL: bool> File<ALL> {
    /// Reads and parses `path`; the files that it names are taken relative to its folder.
    pub fn read(path: &Path) -> Result<File<ALL>, Error> {
        let text = read_text(path, "configuration")?;
        let mut file: File<ALL> = match read_old(path, &text)? {
            Some(file) => file,
            None => {
                let cut =
                    if ALL { None } else { parse(path, &without_unread(&text, |key| BUS_KEYS.contains(&key))).ok() };
                // The cut text may lack an anchor that a kept key refers to, and a true mistake is told on the whole text.
                cut.map_or_else(|| parse(path, &text), Ok)?
            }
        };
        file.anchor(path);
        Ok(file)
    }

    /// Resolves relative file names, and notes where entries stand.
    fn anchor(&mut self, path: &Path) {
        let folder = path.parent().unwrap_or(Path::new(""));
        let near = |file: &mut Option<Near>| {
            if let Some(Near(file)) = file {
                *file = folder.join(&file);
            }
        };
        near(&mut self.passcode_file);
        near(&mut self.ca_file);
        near(&mut self.facts_file.0);
        for entry in self.repos.0.iter_mut().flatten().map(|(_, entry)| entry) {
            near(&mut entry.keys.secret_file);
            near(&mut entry.keys.password_file);
            entry.file = path.to_owned();
        }
        for entry in self.sites.0.iter_mut().flatten().map(|(_, entry)| entry) {
            entry.file = path.to_owned();
        }
        for entry in self.inventory.0.iter_mut().flatten().map(|(_, entry)| entry) {
            entry.file = path.to_owned();
        }
        for entry in self.access.0.iter_mut().flatten().map(|(_, entry)| entry) {
            entry.file = path.to_owned();
        }
        if let Some(signing) = &mut self.signing.0 {
            near(&mut signing.key);
            near(&mut signing.allowed_signers);
        }
        if let Some(webhook) = &mut self.webhook.0 {
            near(&mut webhook.secret_file);
        }
        for entry in self.keepalive.0.iter_mut().flatten() {
            near(&mut entry.passcode_file);
        }
        if let Some(jenkins) = &mut self.jenkins.0 {
            near(&mut jenkins.token_file);
            near(&mut jenkins.ca_file);
            for entry in jenkins.projects.iter_mut().flatten().map(|(_, entry)| entry) {
                near(&mut entry.keys.token_file);
                entry.file = path.to_owned();
            }
        }
    }
}

impl File<true> {
    /// [`read`](Self::read), for a file that holds none of the emitters' keys.
    pub fn read_drop_in(path: &Path) -> Result<File<true>, Error> {
        let text = read_text(path, "configuration")?;
        if legacy::is_old(&text) {
            return Err(Error(format!(
                "{}: an old file can't be a drop-in: make it a new one with `failcake config import`, or name it with -c",
                path.display()
            )));
        }
        let mut file: File<true> = parse(path, &text)?;
        for (number, line) in text.lines().enumerate() {
            // A key of the whole file stands at the line's beginning, or is quoted there.
            let word = line.split(':').next().unwrap_or_default().trim_end().trim_matches(['"', '\'', '{', ' ']);
            if line.contains(':') && !line.starts_with([' ', '#', '-']) && BUS_KEYS.contains(&word) {
                return Err(only_in_main(path, number + 1, word));
            }
        }
        if let Some(key) = file.first_bus_key() {
            return Err(only_in_main(path, 1, key));
        }
        file.anchor(path);
        Ok(file)
    }

    /// The belt to the braces above: whatever spelling hid it there, a parsed key is found here.
    fn first_bus_key(&self) -> Option<&'static str> {
        let there = [
            self.broker.is_some(),
            self.passcode.is_some(),
            self.passcode_file.is_some(),
            self.ca_file.is_some(),
            self.tls_verify.is_some(),
            self.vhost.is_some(),
            self.heart_beat.is_some(),
            self.budget.is_some(),
            self.prefix.is_some(),
            self.topics.is_some(),
            self.spool.is_some(),
            self.spool_max_count.is_some(),
            self.spool_max_bytes.is_some(),
        ];
        BUS_KEYS.into_iter().zip(there).find_map(|(key, there)| there.then_some(key))
    }

    /// Takes what a drop-in says. Its emitters' keys are not looked at: it has none.
    pub fn merge(&mut self, later: File<true>) {
        fn single<T>(own: &mut Part<T, true>, later: Part<T, true>) {
            if later.0.is_some() {
                own.0 = later.0;
            }
        }
        fn section<T: Merge>(own: &mut Part<T, true>, later: Part<T, true>) {
            match (&mut own.0, later.0) {
                (Some(own), Some(later)) => own.merge_later(later),
                (own, Some(later)) => *own = Some(later),
                (_, None) => {}
            }
        }
        fn list<T>(own: &mut Part<Vec<T>, true>, later: Part<Vec<T>, true>) {
            own.0.get_or_insert_default().extend(later.0.unwrap_or_default());
        }
        single(&mut self.durable, later.durable);
        single(&mut self.reconcile, later.reconcile);
        single(&mut self.node, later.node);
        section(&mut self.repos, later.repos);
        section(&mut self.sites, later.sites);
        section(&mut self.inventory, later.inventory);
        section(&mut self.signing, later.signing);
        single(&mut self.facts_file, later.facts_file);
        section(&mut self.webhook, later.webhook);
        section(&mut self.access, later.access);
        list(&mut self.allow, later.allow);
        list(&mut self.keepalive, later.keepalive);
        let interest = later.packages.0.as_ref().and_then(|packages| packages.interest.clone());
        let earlier = self.packages.0.as_ref().and_then(|packages| packages.interest.clone());
        section(&mut self.packages, later.packages);
        if let (Some(packages), Some(earlier), Some(interest)) = (&mut self.packages.0, earlier, interest) {
            packages.interest = Some(earlier.into_iter().chain(interest).collect());
        }
        let projects = self.jenkins.0.as_mut().and_then(|jenkins| jenkins.projects.take());
        section(&mut self.jenkins, later.jenkins);
        if let (Some(jenkins), Some(mut projects)) = (&mut self.jenkins.0, projects) {
            projects.merge_later(jenkins.projects.take().unwrap_or_default());
            jenkins.projects = Some(projects);
        }
    }
}

impl<K: Ord, T: Merge> Merge for BTreeMap<K, Entry<T>> {
    fn merge_later(&mut self, later: Self) {
        for (name, entry) in later {
            match self.get_mut(&name) {
                Some(own) => own.merge_later(entry),
                None => {
                    self.insert(name, entry);
                }
            }
        }
    }
}

fn only_in_main(path: &Path, line: usize, key: &str) -> Error {
    Error(format!(
        "{}:{line}: {key}: can't stand in a drop-in: move it to the main file, the only one that emitters read",
        path.display()
    ))
}

/// The file, if it is one of the Ruby daemons'.
fn read_old<const ALL: bool>(path: &Path, text: &str) -> Result<Option<File<ALL>>, Error> {
    if !legacy::is_old(text) {
        return Ok(None);
    }
    let cut = if ALL { None } else { legacy::read(path, &without_unread(text, legacy::is_emitters), ALL).ok() };
    let Some(old) = cut.map_or_else(|| legacy::read(path, text, ALL), Ok)? else { return Ok(None) };
    old.warnings().iter().for_each(|warning| log::warn!("{warning}"));
    old.file(path).map(Some)
}

/// Blanks what stands indented below the keys that emitters do not read, so that five hundred repositories in the main
/// file cost a hook next to nothing: parsing takes several microseconds a line. Lines keep their numbers.
fn without_unread(text: &str, is_read: impl Fn(&str) -> bool) -> String {
    let mut cut = String::with_capacity(text.len());
    let mut skipping = false;
    for line in text.lines() {
        let inside = line.starts_with([' ', '-']) && !line.starts_with("---");
        if !inside && !line.is_empty() && !line.starts_with('#') {
            let key = line.trim_end().strip_suffix(':');
            skipping = key.is_some_and(|key| !is_read(key));
        }
        if !(skipping && inside) {
            cut.push_str(line);
        }
        cut.push('\n');
    }
    cut
}

/// What the text of a file says.
pub fn parse<const ALL: bool>(path: &Path, text: &str) -> Result<File<ALL>, Error> {
    let options = serde_saphyr::options! { with_snippet: false, emit_comments: false, strict_booleans: true };
    let parsed: Result<Option<File<ALL>>, _> = serde_saphyr::from_str_with_options(text, options);
    // A file of nothing but comments says nothing, which is allowed.
    parsed.map(Option::unwrap_or_default).map_err(|error| mistake::tell(path, text, &error))
}

/// The text of a file, `what` it is in messages.
pub fn read_text(path: &Path, what: &str) -> Result<String, Error> {
    let fail = |error: std::io::Error| Error(format!("can't read the {what} {}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error(format!("the {what} {} is larger than 16 MiB: is it the right file?", path.display())));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        Error(format!("{}:{line}: the {what} is not UTF-8 text", path.display()))
    })
}
