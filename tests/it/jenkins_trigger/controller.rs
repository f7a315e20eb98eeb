//! A stand-in for Jenkins that keeps to its documented remote API, oddities included: crumbs bound to a session (and no
//! need of them with an API token), 201 with the queue item's Location, equal items merged while they wait, 409 for a
//! disabled job, 500 for parameters of a job that has none, items forgotten after they left the queue, 503 pages while
//! it starts, 403 pages with `X-Required-Permission`, jobs that a stranger can't see answered with 404.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// What Jenkins knows how to say no with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Up,
    /// "Please wait while Jenkins is getting ready to work".
    Starting,
    /// 500 with a stack trace.
    Broken,
    /// Takes the request and never answers.
    Silent,
    /// A single sign-on before it: 302 to its login page.
    Login,
    /// Has moved to another host.
    Moved,
    /// Takes the build, and breaks the connection before its answer.
    Cut,
    /// 201 without a Location.
    NoLocation,
    /// 302 to the job's page, as before version 1.519.
    Old,
}

#[derive(Debug, Clone, Default)]
pub struct Job {
    pub parameterized: bool,
    pub disabled: bool,
    /// "Trigger builds remotely": who has it needs no login.
    pub token: Option<String>,
    pub builds: Vec<Build>,
}

#[derive(Debug, Clone)]
pub struct Build {
    pub parameters: Vec<(String, String)>,
    pub result: Option<String>,
    queue_id: u64,
}

#[derive(Debug)]
struct Item {
    id: u64,
    job: String,
    parameters: Vec<(String, String)>,
    /// The build that it became.
    number: Option<u64>,
    cancelled: bool,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

pub struct State {
    pub mood: Mood,
    pub jobs: BTreeMap<String, Job>,
    /// API token of `ann`.
    pub api_token: String,
    pub crumbs: bool,
    pub may_build: bool,
    /// How many were answered at the same time, at most.
    pub most_at_once: usize,
    at_once: usize,
    pub requests: Vec<Request>,
    sessions: u64,
    queue: Vec<Item>,
    next_item: u64,
    address: String,
}

#[derive(Clone)]
pub struct Controller {
    state: Arc<Mutex<State>>,
    pub url: String,
}

impl Controller {
    pub fn start() -> Controller {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State {
            mood: Mood::Up,
            jobs: BTreeMap::new(),
            api_token: "sesame".to_owned(),
            crumbs: true,
            may_build: true,
            most_at_once: 0,
            at_once: 0,
            requests: Vec::new(),
            sessions: 0,
            queue: Vec::new(),
            next_item: 1,
            address: address.clone(),
        }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), shared.clone());
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Controller { state, url: format!("http://{address}/ci/") }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn job(&self, name: &str, job: Job) {
        self.state().jobs.insert(name.to_owned(), job);
    }

    pub fn mood(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// The quiet period is over: what waits becomes builds.
    pub fn leave_queue(&self) {
        let mut state = self.state();
        let State { queue, jobs, .. } = &mut *state;
        for item in queue.iter_mut().filter(|item| item.number.is_none() && !item.cancelled) {
            let job = jobs.get_mut(&item.job).unwrap();
            job.builds.push(Build { parameters: item.parameters.clone(), result: None, queue_id: item.id });
            item.number = Some(job.builds.len() as u64);
        }
    }

    pub fn cancel_all(&self) {
        self.state().queue.iter_mut().for_each(|item| item.cancelled = true);
    }

    /// Five minutes later.
    pub fn forget_items(&self) {
        self.state().queue.retain(|item| item.number.is_none() && !item.cancelled);
    }

    pub fn finish(&self, job: &str, number: usize, result: &str) {
        self.state().jobs.get_mut(job).unwrap().builds[number - 1].result = Some(result.to_owned());
    }

    pub fn waiting(&self) -> usize {
        self.state().queue.iter().filter(|item| item.number.is_none() && !item.cancelled).count()
    }

    /// Requests whose target holds `part`.
    pub fn asked(&self, part: &str) -> Vec<Request> {
        self.state().requests.iter().filter(|request| request.target.contains(part)).cloned().collect()
    }

    #[track_caller]
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(&self.state()) {
            assert!(Instant::now() < deadline, "no {what}: {:?}", self.state().requests);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    pub fn wait_for_waiting(&self, count: usize) {
        self.wait_for("item in the queue", |state| {
            state.queue.iter().filter(|item| item.number.is_none()).count() == count
        });
    }
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, headers: vec![("X-Jenkins", "2.492.3".to_owned())], body: body.to_owned() }
}

fn with(mut reply: Reply, name: &'static str, value: String) -> Reply {
    reply.headers.push((name, value));
    reply
}

fn serve(stream: TcpStream, shared: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read(&mut reader) {
        let mood = {
            let mut state = shared.lock().unwrap();
            state.requests.push(request.clone());
            state.at_once += 1;
            state.most_at_once = state.most_at_once.max(state.at_once);
            state.mood
        };
        // Long enough to see who asks twice at a time.
        std::thread::sleep(Duration::from_millis(5));
        let reply = answer(&mut shared.lock().unwrap(), &request);
        if mood == Mood::Silent {
            std::thread::sleep(PATIENCE);
        }
        shared.lock().unwrap().at_once -= 1;
        if mood == Mood::Cut && request.method == "POST" {
            return;
        }
        let mut text = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if (&stream).write_all(format!("{text}\r\n{}", reply.body).as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request { method, target, headers, body: String::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).unwrap();
    Some(request)
}

fn answer(state: &mut State, request: &Request) -> Reply {
    match state.mood {
        Mood::Starting => {
            return reply(
                503,
                "<html><head><title>Starting Jenkins</title></head>Please wait while Jenkins is getting ready to work</html>",
            );
        }
        Mood::Broken => return reply(500, "<html><title>Oops! - Jenkins</title>java.lang.NullPointerException</html>"),
        Mood::Login => {
            let place = format!("http://{}/ci/login?from=%2F", state.address);
            return with(reply(302, ""), "Location", place);
        }
        Mood::Moved => {
            let place = format!("http://jenkins.invalid{}", request.target);
            return with(reply(302, ""), "Location", place);
        }
        _ => {}
    }
    let Some(path) = request.target.strip_prefix("/ci") else { return reply(404, "<html>no context</html>") };
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    // Each part decoded once, after the split: %2F within a part is no slash.
    let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let fields: Vec<(String, String)> = request
        .body
        .split('&')
        .filter(|field| !field.is_empty())
        .map(|field| field.split_once('=').unwrap())
        .map(|(name, value)| (decode(name), decode(value)))
        .collect();
    let login = request.header("authorization");
    // base64 of "ann:" and the token, made by the caller's language, not by the code under test.
    let known = login.is_some_and(|login| login == basic("ann", &state.api_token));
    if login.is_some() && !known {
        return reply(401, "<html><title>Error 401 Unauthorized</title></html>");
    }
    let cookie = request.header("cookie").unwrap_or_default();
    if request.method == "POST" && state.crumbs && !known {
        // SECURITY-626: a crumb is good for its session only.
        let session = cookie.split("; ").find_map(|pair| pair.strip_prefix("JSESSIONID.1="));
        let wanted = session.map(|session| format!("crumb-of-{session}"));
        if wanted.is_none() || request.header("jenkins-crumb") != wanted.as_deref() {
            return reply(403, "<html><title>Error 403 No valid crumb was included in the request</title></html>");
        }
    }
    match parts[..] {
        ["crumbIssuer", "api", "json"] if !state.crumbs => reply(404, "<html>Not Found</html>"),
        ["crumbIssuer", "api", "json"] => {
            state.sessions += 1;
            let body = serde_json::json!({
                "_class": "hudson.security.csrf.DefaultCrumbIssuer",
                "crumb": format!("crumb-of-{}", state.sessions), "crumbRequestField": "Jenkins-Crumb",
            });
            let cookie = format!("JSESSIONID.1={}; Path=/ci; HttpOnly", state.sessions);
            with(reply(200, &body.to_string()), "Set-Cookie", cookie)
        }
        ["whoAmI", "api", "json"] => {
            reply(200, &serde_json::json!({ "name": if known { "ann" } else { "anonymous" } }).to_string())
        }
        ["queue", "item", id, "api", "json"] => item(state, id.parse().unwrap()),
        ["job", ..] => job(state, request, &parts, known, &fields),
        _ => reply(404, "<html><title>Error 404 Not Found</title></html>"),
    }
}

fn item(state: &State, id: u64) -> Reply {
    let Some(item) = state.queue.iter().find(|item| item.id == id) else { return reply(404, "<html>Not Found</html>") };
    let body = match (item.number, item.cancelled) {
        (_, true) => serde_json::json!({ "id": id, "cancelled": true, "executable": null, "why": null }),
        (None, _) => serde_json::json!({ "id": id, "why": "In the quiet period. Expires in 4.9 sec" }),
        // What it says of its own place need not be where we reach it.
        (Some(number), _) => serde_json::json!({
            "id": id, "cancelled": false, "why": null,
            "executable": { "number": number, "url": "http://evil.invalid/steal/" },
        }),
    };
    reply(200, &body.to_string())
}

fn job(state: &mut State, request: &Request, parts: &[&str], known: bool, fields: &[(String, String)]) -> Reply {
    let mut names = Vec::new();
    let mut rest = parts;
    while let ["job", name, after @ ..] = rest {
        names.push(*name);
        rest = after;
    }
    let name = names.join("/");
    let missing = || reply(404, "<html><title>Error 404 Not Found</title></html>");
    let (address, mood, may_build) = (state.address.clone(), state.mood, state.may_build);
    let Some(job) = state.jobs.get(&name) else { return missing() };
    let token = fields.iter().find(|(name, _)| name == "token").map(|(_, value)| value.as_str());
    let has_token = job.token.is_some() && job.token.as_deref() == token;
    if !known && !has_token {
        return missing();
    }
    match rest {
        [verb @ ("build" | "buildWithParameters")] => {
            if request.method != "POST" {
                return reply(405, "<html>This page must be POSTed</html>");
            }
            if !may_build && !has_token {
                let page = reply(403, "<html>ann is missing the Job/Build permission</html>");
                return with(page, "X-Required-Permission", "hudson.model.Item.Build".to_owned());
            }
            if job.disabled {
                return reply(409, "<html>spog is not buildable</html>");
            }
            match (*verb, job.parameterized) {
                ("build", true) => return reply(400, "<html>This page expects a form submission</html>"),
                ("buildWithParameters", false) => {
                    return reply(
                        500,
                        "<html>java.lang.IllegalStateException: This build is not parameterized!</html>",
                    );
                }
                _ => {}
            }
            let parameters: Vec<_> = fields.iter().filter(|(name, _)| name != "token").cloned().collect();
            let equal = state
                .queue
                .iter()
                .find(|item| {
                    item.job == name && item.parameters == parameters && item.number.is_none() && !item.cancelled
                })
                .map(|item| item.id);
            let id = equal.unwrap_or_else(|| {
                let id = state.next_item;
                state.next_item += 1;
                let item = Item { id, job: name, parameters, number: None, cancelled: false };
                state.queue.push(item);
                id
            });
            match mood {
                Mood::NoLocation => reply(201, ""),
                Mood::Old => with(
                    reply(302, ""),
                    "Location",
                    format!("http://{address}/ci/{}/", parts[..parts.len() - 1].join("/")),
                ),
                _ => with(reply(201, ""), "Location", format!("http://{address}/ci/queue/item/{id}/")),
            }
        }
        ["api", "json"] => {
            let builds = job.builds.iter().enumerate().rev();
            let builds: Vec<_> =
                builds.map(|(at, build)| serde_json::json!({ "number": at + 1, "queueId": build.queue_id })).collect();
            reply(200, &serde_json::json!({ "builds": builds }).to_string())
        }
        [number, "api", "json"] => match number.parse::<usize>().ok().and_then(|number| job.builds.get(number - 1)) {
            None => missing(),
            Some(build) => {
                let body = serde_json::json!({ "building": build.result.is_none(), "result": build.result });
                reply(200, &body.to_string())
            }
        },
        _ => missing(),
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let digits = std::str::from_utf8(&rest[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// RFC 7617, with the values that these tests use.
fn basic(user: &str, token: &str) -> String {
    let encoded = match (user, token) {
        ("ann", "sesame") => "YW5uOnNlc2FtZQ==",
        ("ann", "renewed") => "YW5uOnJlbmV3ZWQ=",
        other => panic!("no test has {other:?}"),
    };
    format!("Basic {encoded}")
}
