//! The listener: sockets, limits, a graceful stop. One thread moves bytes and judges; one spools (the desk), one sends.
//!
//! Outside input costs at most: [`Limits::connections`] times a header (16 KiB), and [`IN_FLIGHT`] octets of bodies.

use std::convert::Infallible;
use std::future::Future;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, EXPECT, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::delivery::{Door, Letter};
use super::desk::Desk;
use super::sender::Sender;
use super::{Answer, BODY_MAX};
use crate::forge::Headers;
use crate::outbox::Outbox;

/// How much the outside may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Octets of one body.
    pub body: usize,
    /// Connections at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// From one request's end, or the connection's beginning, to the next header's end.
    pub header_time: Duration,
    /// For one body.
    pub body_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body: BODY_MAX,
            connections: 128,
            header_time: Duration::from_secs(15),
            body_time: Duration::from_secs(30),
        }
    }
}

/// Octets of all bodies that are being read, or wait to be spooled; over it the answer is 503.
const IN_FLIGHT: usize = 64 * 1024 * 1024;
/// Octets of one request's header; more is answered with 431.
const HEADER_MAX: usize = 16 * 1024;
/// Lines of it.
const HEADER_LINES: usize = 100;
/// A connection is asked to end after so long, so that one that reads no answers does not keep its place.
const AGE: Duration = Duration::from_secs(300);
/// Between the wish to stop and the end of connections that go on.
const GRACE: Duration = Duration::from_secs(10);
/// For the last try to send, after it.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Octets from which a body is judged in another thread: HMAC and JSON of 25 MiB take a tenth of a second.
const LARGE: usize = 512 * 1024;
/// Letters that share one fsync, and octets of their messages from which no more is added.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 1024 * 1024;

/// A bound address, not yet listened at.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    door: Arc<Door>,
    outbox: Outbox,
    limits: Limits,
}

/// What every request needs.
struct Shared {
    door: Arc<Door>,
    limits: Limits,
    in_flight: Arc<Semaphore>,
    letters: mpsc::Sender<Post>,
}

/// A letter on its way to the desk. As many as there are connections.
struct Post {
    letter: Letter,
    answer: oneshot::Sender<Answer>,
    /// The body is gone; what it says is as large, at most.
    room: Room,
}

/// Octets of [`IN_FLIGHT`] that a request holds.
type Room = Option<OwnedSemaphorePermit>;

impl Listener {
    /// Binds `address`, `HOST:PORT`.
    ///
    /// # Errors
    /// It is no address, or can't be had.
    pub fn bind(address: &str, door: Door, outbox: Outbox, limits: Limits) -> std::io::Result<Listener> {
        let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
        let socket = TcpListener::bind(addresses.as_slice())?;
        socket.set_nonblocking(true)?;
        Ok(Listener { socket, door: Arc::new(door), outbox, limits })
    }

    /// Where it listens: the port too, when the kernel chose it.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until TERM or INT. `ready` is called when both are heard and connections are accepted.
    ///
    /// # Errors
    /// The system gives no threads or no event queue.
    pub fn run(self, ready: impl FnOnce()) -> std::io::Result<()> {
        let sender = Sender::start(self.outbox.clone())?;
        let desk = Desk::new(self.outbox);
        let (letters, post) = mpsc::channel();
        let clerk = std::thread::Builder::new().name("desk".to_owned()).spawn(move || {
            work(&desk, &post, &sender);
            sender
        })?;

        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_keep_alive(Duration::from_secs(1))
            .build()?;
        let shared =
            Shared { door: self.door, limits: self.limits, in_flight: Arc::new(Semaphore::new(IN_FLIGHT)), letters };
        let served = runtime.block_on(serve(self.socket, Arc::new(shared), ready));
        // The last requests end here, and with them the last who could bring letters.
        drop(runtime);
        if let Ok(sender) = clerk.join() {
            sender.finish(LAST_WORDS);
        }
        served
    }
}

/// The desk's thread: what came while the disk was busy is taken in together.
fn work(desk: &Desk, post: &mpsc::Receiver<Post>, sender: &Sender) {
    while let Ok(first) = post.recv() {
        let mut batch = vec![first];
        let mut size = 0;
        while batch.len() < BATCH && size < BATCH_BYTES {
            let Ok(next) = post.try_recv() else { break };
            size += next.letter.frames.iter().map(|frame| frame.body.len()).sum::<usize>();
            batch.push(next);
        }
        let (letters, waiting): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|post| (post.letter, (post.answer, post.room))).unzip();
        let answers = desk.take(letters);
        for ((waiting, _room), answer) in waiting.into_iter().zip(answers) {
            // Whoever asked may be gone; what was accepted stays accepted.
            let _ = waiting.send(answer);
        }
        sender.wake();
    }
}

async fn serve(socket: TcpListener, shared: Arc<Shared>, ready: impl FnOnce()) -> std::io::Result<()> {
    let socket = tokio::net::TcpListener::from_std(socket)?;
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let most = shared.limits.connections;
    let places = Arc::new(Semaphore::new(most));
    let (stop, stopped) = watch::channel(());
    ready();
    loop {
        let connection = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (socket.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            connection = connection => connection,
            _ = term.recv() => break,
            _ = int.recv() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
                tokio::spawn(async move {
                    converse(stream, shared, stopped).await;
                    drop(place);
                });
            }
            // Out of descriptors, most likely: some will be free.
            Err(error) => {
                log::warn!("can't accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    crate::watch::supervisor::stopping();
    drop(socket);
    drop(stop);
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    tokio::select! {
        _ = timeout(GRACE, places.acquire_many(all)) => {}
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

/// One connection, from its first octet to its last.
async fn converse(stream: TcpStream, shared: Arc<Shared>, mut stopped: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(shared.limits.header_time)
        .max_buf_size(HEADER_MAX)
        .max_headers(HEADER_LINES)
        // A client that closes its side after the request still wants the answer.
        .half_close(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(shared, request).await) }
    });
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let end = tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.changed() => GRACE,
        () = sleep(AGE) => AGE,
    };
    connection.as_mut().graceful_shutdown();
    let _ = timeout(end, connection).await;
}

async fn respond(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let result = receive(shared, request).await;
    let (answer, body_is_read) = match &result {
        Ok(answer) => (answer, true),
        Err(answer) => (answer, false),
    };
    if answer.status >= 400 {
        log::warn!("a delivery was answered with {} {}: {}", answer.status, answer.reason(), answer.text);
    } else {
        log::info!("a delivery was answered with {} {}", answer.status, answer.text);
    }
    let mut response = Response::new(Full::new(Bytes::from(format!("{}\n", answer.text))));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    for (name, value) in answer.headers() {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    if !body_is_read {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// `Err`: the body was not read to its end, and the connection can't be used again.
async fn receive(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Answer> {
    if request.method() != Method::POST {
        return Err(Answer::only_post());
    }
    let (head, body) = request.into_parts();
    let reading = read(body, &shared, head.headers.contains_key(EXPECT));
    let (body, room) = in_time(shared.limits.body_time, reading).await?;

    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let headers = Headers::new(headers);
    let judged = if body.len() < LARGE {
        shared.door.judge(None, &headers, &body)
    } else {
        let door = Arc::clone(&shared.door);
        let judging = tokio::task::spawn_blocking(move || door.judge(None, &headers, &body));
        judging.await.unwrap_or_else(|_| Err(Answer::new(500, "it could not be read")))
    };
    let letter = match judged {
        Ok(letter) => letter,
        Err(answer) => return Ok(answer),
    };
    let (answer, answered) = oneshot::channel();
    let nobody = || Answer::new(503, "it is stopping");
    if shared.letters.send(Post { letter, answer, room }).is_err() {
        return Ok(nobody());
    }
    Ok(answered.await.unwrap_or_else(|_| nobody()))
}

async fn in_time<T>(limit: Duration, what: impl Future<Output = Result<T, Answer>>) -> Result<T, Answer> {
    timeout(limit, what).await.unwrap_or_else(|_| Err(Answer::new(408, "the body took too long")))
}

/// Reads a body within the limits. One that is too large is read on for a while and thrown away: a client that is still
/// sending when the connection closes would see a reset and not the answer.
async fn read(mut body: Incoming, shared: &Shared, asks_first: bool) -> Result<(Vec<u8>, Room), Answer> {
    let most = shared.limits.body;
    let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    // It waits for "100 Continue", which the first read would send.
    if told > most && asks_first {
        return Err(Answer::too_large(most));
    }
    let mut bytes = Vec::new();
    let mut room: Room = None;
    let mut passed = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Answer::new(400, "the body ended early"))?;
        let Ok(data) = frame.into_data() else { continue };
        passed = passed.saturating_add(data.len());
        if told > most || passed > most {
            (bytes, room) = (Vec::new(), None);
            if passed > most.saturating_mul(2) {
                break;
            }
            continue;
        }
        let octets = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&shared.in_flight).try_acquire_many_owned(octets) else {
            return Err(Answer::new(503, "too many deliveries at once"));
        };
        match &mut room {
            Some(room) => room.merge(more),
            None => room = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
    if passed > most {
        return Err(Answer::too_large(most));
    }
    Ok((bytes, room))
}
