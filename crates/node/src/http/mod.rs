// SPDX-License-Identifier: Apache-2.0
//! HTTP: health, readiness, metrics, the read-only API, and one plain page that says so.
//!
//! Owns: the routes (made from `ops::api::Operation`, so that each is in the OpenAPI document) and the bounds of HTTP connections.
//! Must not know: what is counted or what makes a node ready (`ops`).
//! It listens before recovery begins, so that `/readyz` can say what the node is at. A connection lives `LIFE_MAX` at most and there
//! are `CONNECTIONS_MAX` of them, so that peers who send half a request lock nobody out for long. Answers for which shards are asked
//! are made `ASKERS_MAX` at a time, each within `PATIENCE`; who waits longer for its turn is told to come back.
//!
//! `about` is `/v1/node`; `topics`, `groups` what their names say, `lag` the groups on `/metrics`; `page`, `query` read what is asked for; `answer` writes.

mod about;
mod answer;
mod groups;
mod lag;
mod page;
mod query;
mod topics;

pub use about::About;

use crate::accept;
use crate::asker::Asker;
use crate::disk_usage::DiskUsage;
use crate::node::Node;
use answer::Refused;
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::serve::Listener;
use lag::Lag;
use ops::api::shapes::ListenerShape;
use ops::api::{self, Operation};
use ops::health::Phase;
use ops::metrics::{self, DiskLevels, Levels, Protocol};
use ops::{Health, Metrics};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::Sleep;

const CONNECTIONS_MAX: usize = 256;
const LIFE_MAX: Duration = Duration::from_secs(30);
const REST_AFTER_ERROR: Duration = Duration::from_millis(20);
/// Answers being made at once for which shards are asked.
const ASKERS_MAX: usize = 4;
/// How long such an answer may take, and how long may be waited for the turn to make it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the pages are made from.
pub struct Pages {
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub about: About,
    pub disk: DiskUsage,
    lag: Lag,
    /// Set once clients can connect.
    pub listeners: OnceLock<Vec<ListenerShape>>,
    /// Set once recovery is over.
    pub node: OnceLock<Arc<Node>>,
    turns: Semaphore,
}

/// The right to ask shards, for one answer.
pub struct Turn<'a> {
    pub asker: Asker,
    _permit: SemaphorePermit<'a>,
}

impl Pages {
    pub fn new(health: Arc<Health>, metrics: Arc<Metrics>, about: About, lag_series_max: usize) -> Pages {
        Pages {
            health,
            metrics,
            disk: DiskUsage::new(about.data_dir.clone()),
            about,
            lag: Lag::new(lag_series_max),
            listeners: OnceLock::new(),
            node: OnceLock::new(),
            turns: Semaphore::new(ASKERS_MAX),
        }
    }

    /// The node, once it has recovered.
    fn recovered(&self) -> Result<&Arc<Node>, Refused> {
        self.node.get().ok_or_else(|| Refused::not_now(self.health.phase().to_string()))
    }

    /// Waits for the turn to ask shards.
    async fn turn(&self, node: &Arc<Node>) -> Result<Turn<'_>, Refused> {
        match tokio::time::timeout(PATIENCE, self.turns.acquire()).await {
            Ok(Ok(permit)) => Ok(Turn { asker: Asker::join(node, PATIENCE), _permit: permit }),
            _ => Err(Refused::not_now("too many answers are being made; come back later")),
        }
    }
}

/// Listens and serves until the runtime ends.
///
/// # Errors
/// The address, and why it cannot be listened on.
pub fn start(address: SocketAddr, pages: Arc<Pages>) -> Result<SocketAddr, String> {
    let wrong = |error: io::Error| format!("cannot listen on {address} for HTTP: {error}");
    let listener = accept::listen(address).map_err(wrong)?;
    let bound = listener.local_addr().map_err(wrong)?;
    if !bound.ip().to_canonical().is_loopback() {
        tracing::warn!(
            address = %bound,
            "HTTP is not bound to a loopback address: whoever reaches it can read names, groups and figures of this node"
        );
    }
    let metrics = pages.metrics.clone();
    let mut router = Router::new().route("/", get(front));
    for operation in Operation::ALL {
        router = router.route(operation.path(), handler(operation));
    }
    let router = router
        .fallback(|| async { Refused::missing("nothing is served here; /v1/openapi.json says what is") })
        .method_not_allowed_fallback(|| async { Refused::method() })
        .with_state(pages);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let listener = BoundedListener { listener, permits, metrics };
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "HTTP has ended");
        }
    });
    Ok(bound)
}

type Shared = State<Arc<Pages>>;

fn handler(operation: Operation) -> MethodRouter<Arc<Pages>> {
    match operation {
        Operation::Node => get(|State(pages): Shared| async move { answer::json(&about::node(&pages).await) }),
        Operation::Topics => get(|State(pages): Shared, RawQuery(query)| async move {
            told(topics::all(&pages, pages.recovered()?, &query.unwrap_or_default()).await)
        }),
        Operation::Topic => get(|State(pages): Shared, name: Named, RawQuery(query)| async move {
            told(topics::one(&pages, pages.recovered()?, &named(name)?, &query.unwrap_or_default()).await)
        }),
        Operation::Groups => get(|State(pages): Shared, RawQuery(query)| async move {
            told(groups::all(&pages, pages.recovered()?, &query.unwrap_or_default()).await)
        }),
        Operation::Group => get(|State(pages): Shared, id: Named| async move {
            told(groups::one(&pages, pages.recovered()?, &named(id)?).await)
        }),
        Operation::Document => get(|| async { answer::json(&api::document(crate::VERSION)) }),
        Operation::Metrics => get(metrics_text),
        Operation::Alive => get(|| async { "alive\n" }),
        Operation::Ready => get(readyz),
    }
}

fn told<T: serde::Serialize>(answer: Result<T, Refused>) -> Result<Response, Refused> {
    answer.map(|answer| answer::json(&answer))
}

type Named = Result<Path<String>, PathRejection>;

/// The name in a path, decoded.
fn named(name: Named) -> Result<String, Refused> {
    name.map(|Path(name)| name).map_err(|_| Refused::wrong("the name is not percent-encoded UTF-8"))
}

async fn front(State(pages): Shared) -> Html<String> {
    let links: Vec<String> = Operation::ALL
        .iter()
        .map(|operation| operation.path())
        .filter(|path| !path.contains('{'))
        .map(|path| format!("<a href=\"{path}\">{path}</a>"))
        .collect();
    Html(format!(
        "<!doctype html><title>Polylog</title><h1>Polylog {}</h1><p>{}</p><p>{}</p>\n",
        crate::VERSION,
        escaped(&pages.health.phase().to_string()),
        links.join(" "),
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

async fn readyz(State(pages): Shared) -> Response {
    let phase = pages.health.phase();
    let status = if phase == Phase::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{phase}\n")).into_response()
}

async fn metrics_text(State(pages): Shared) -> Response {
    match pages.metrics.text(levels(&pages).await) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn levels(pages: &Pages) -> Levels {
    let disk = pages.disk.look().await;
    let node = pages.node.get();
    let groups = match node {
        Some(node) => pages.lag.look(node).await,
        None => None,
    };
    Levels {
        version: crate::VERSION,
        started_at_s: pages.about.started_at_ms / 1000,
        shards: node.map_or_else(Vec::new, about::figures),
        mailbox_bytes: node.map_or(0, |node| about::mailbox_bytes(node)),
        resident_bytes: crate::machine::resident_bytes(),
        limits: pages.about.limits,
        disk: disk.map(|disk| DiskLevels {
            used_bytes: disk.used_bytes,
            disk_bytes: disk.disk_bytes,
            free_bytes: disk.disk_free_bytes,
        }),
        groups,
    }
}

struct BoundedListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        loop {
            let Ok(permit) = self.permits.clone().acquire_owned().await else { std::future::pending().await };
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let life = Box::pin(tokio::time::sleep(LIFE_MAX));
                    let metrics = self.metrics.clone();
                    return (BoundedStream { stream, life, metrics, _permit: permit }, peer);
                }
                Err(_) => tokio::time::sleep(REST_AFTER_ERROR).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A stream that ends when its time is up.
struct BoundedStream {
    stream: TcpStream,
    life: Pin<Box<Sleep>>,
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.life.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.metrics.received(Protocol::Http).add((buffer.filled().len() - before) as u64);
        outcome
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.life.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = outcome {
            self.metrics.sent(Protocol::Http).add(count as u64);
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
