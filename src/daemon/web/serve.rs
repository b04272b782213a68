//! Listening, and connections: a bounded number of them, none idle for long.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use futures_util::future;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, oneshot};

/// Connections at a time; more wait to be accepted.
const CONNECTIONS: u32 = 64;
/// How long a client may take to say what it wants, and a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long answers may take when the kiosk stops.
const FAREWELL: Duration = Duration::from_millis(500);
/// A pause after a connection could not be accepted, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A server on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at `address`, and answers as the router does that `routes` makes within the runtime.
    pub(super) fn start(
        address: SocketAddr,
        routes: impl FnOnce() -> Router + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = runtime()?;
        let (stop, stopped) = oneshot::channel();
        let work = move || {
            runtime.block_on(answer(listener, routes, stopped));
            // Thumbnails that nobody will get.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("web".to_owned()).spawn(work)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the web server came to a bad end");
        }
    }
}

/// One thread for connections, and one more at a time for what takes longer.
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(2).build()
}

/// Answers until the other end of `stopped` is dropped, then says farewell.
async fn answer(
    listener: TcpListener,
    routes: impl FnOnce() -> Router,
    stopped: oneshot::Receiver<Infallible>,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS as usize));
    let accepting = accept(listener, routes(), permits.clone());
    future::select(pin!(accepting), stopped).await;
    // Those who wait for a picture are told that there will be none.
    let _ = tokio::time::timeout(FAREWELL, permits.acquire_many(CONNECTIONS)).await;
}

/// Takes in connections for ever.
async fn accept(listener: TcpListener, routes: Router, permits: Arc<Semaphore>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return log::error!("the web server cannot listen: {error}"),
    };
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let routes = routes.clone();
                tokio::spawn(async move {
                    converse(stream, routes).await;
                    drop(permit);
                });
            }
            Err(error) => {
                log::debug!("no connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers what comes over one connection.
async fn converse(stream: TcpStream, routes: Router) {
    // Small answers go out at once.
    let _ = stream.set_nodelay(true);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    if let Err(error) = served.await {
        log::debug!("a connection broke: {error}");
    }
}
