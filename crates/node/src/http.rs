// SPDX-License-Identifier: Apache-2.0
//! HTTP: health, readiness, metrics, and one plain page that says so.
//!
//! Owns: the routes and the bounds of HTTP connections. Must not know: what is counted or what makes a node ready (`ops`).
//! It listens before recovery begins, so that `/readyz` can say what the node is at. A connection lives `LIFE_MAX` at most and there
//! are `CONNECTIONS_MAX` of them, so that peers who send half a request lock nobody out for long.

use crate::accept;
use crate::node::Node;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use ops::health::Phase;
use ops::{Health, Metrics, metrics};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

const CONNECTIONS_MAX: usize = 256;
const LIFE_MAX: Duration = Duration::from_secs(30);
const REST_AFTER_ERROR: Duration = Duration::from_millis(20);

/// What the pages are made from.
pub struct Pages {
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    /// Set once recovery is over.
    pub node: OnceLock<Arc<Node>>,
}

/// Listens and serves until the runtime ends.
///
/// # Errors
/// The address, and why it cannot be listened on.
pub fn start(address: SocketAddr, pages: Arc<Pages>) -> Result<SocketAddr, String> {
    let wrong = |error: io::Error| format!("cannot listen on {address} for HTTP: {error}");
    let listener = accept::listen(address).map_err(wrong)?;
    let bound = listener.local_addr().map_err(wrong)?;
    let router = Router::new()
        .route("/", get(front))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(pages);
    let listener = BoundedListener { listener, permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "HTTP has ended");
        }
    });
    Ok(bound)
}

async fn front(State(pages): State<Arc<Pages>>) -> Html<String> {
    Html(format!(
        "<!doctype html><title>Polylog</title><h1>Polylog {}</h1><p>{}</p>\
         <p><a href=\"/healthz\">/healthz</a> <a href=\"/readyz\">/readyz</a> <a href=\"/metrics\">/metrics</a></p>\n",
        crate::VERSION,
        escaped(&pages.health.phase().to_string()),
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Alive: it answers.
async fn healthz() -> &'static str {
    "alive\n"
}

async fn readyz(State(pages): State<Arc<Pages>>) -> Response {
    let phase = pages.health.phase();
    let status = if phase == Phase::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{phase}\n")).into_response()
}

async fn metrics_text(State(pages): State<Arc<Pages>>) -> Response {
    let figures =
        pages.node.get().map_or_else(Vec::new, |node| node.shards.iter().map(|cell| cell.figures(node)).collect());
    match pages.metrics.text(crate::VERSION, figures) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

struct BoundedListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
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
                    return (BoundedStream { stream, life, _permit: permit }, peer);
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
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.life.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
