//! Connections: no more than may be held, and none that dawdles over the head of a request.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, serve::Listener};
use hyper::{body::Incoming, server::conn::http1, service::Service, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

use crate::model::limits;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub SocketAddr);

/// Serves until `closing`, then until all that was under way is answered. The head of a request, the next one on a connection
/// too, must come within `head_within`.
pub(super) async fn serve(
    mut listener: TcpListener,
    app: Router,
    head_within: Duration,
    mut closing: watch::Receiver<bool>,
) -> io::Result<()> {
    let (graceful, mut held) = (GracefulShutdown::new(), Held::default());
    loop {
        let (stream, address) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            _ = closing.wait_for(|is_closing| *is_closing) => break,
        };
        if !held.makes_room(address.ip()) {
            // The connection is closed.
            continue;
        }
        let has_asked = Arc::new(AtomicBool::new(false));
        let connection = connection(stream, address, app.clone(), head_within, Arc::clone(&has_asked));
        let connection = graceful.watch(connection);
        let task = tokio::spawn(async move {
            // Who goes away or sends no HTTP is no fault of ours.
            _ = connection.await;
        });
        held.add(One { address: address.ip(), has_asked, task: task.abort_handle() });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

fn connection(
    stream: TcpStream,
    address: SocketAddr,
    app: Router,
    head_within: Duration,
    has_asked: Arc<AtomicBool>,
) -> http1::Connection<
    TokioIo<TcpStream>,
    impl Service<Request<Incoming>, Response = axum::response::Response, Error = std::convert::Infallible, Future: Send>,
> {
    let app = TowerToHyperService::new(app);
    let service = service_fn(move |request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(address));
        app.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_within);
    http.serve_connection(TokioIo::new(stream), service)
}

/// The connections there are, the oldest first.
#[derive(Default)]
struct Held {
    next: u64,
    all: BTreeMap<u64, One>,
}

struct One {
    address: IpAddr,
    /// A whole head of a request has come.
    has_asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Held {
    fn add(&mut self, one: One) {
        self.all.insert(self.next, one);
        self.next += 1;
    }

    /// Whether there is a place for one more of an address. Where there is none, the oldest that has asked nothing yet makes room: of
    /// that address when it has all that it may, else of the address with the most such.
    fn makes_room(&mut self, address: IpAddr) -> bool {
        self.all.retain(|_, one| !one.task.is_finished());
        let own = self.all.values().filter(|one| one.address == address).count();
        let from = if own >= limits::HTTP_CONNECTIONS_PER_ADDRESS {
            Some(address)
        } else if self.all.len() >= limits::HTTP_CONNECTIONS {
            self.idlest()
        } else {
            return true;
        };
        let oldest = self.all.iter().find(|(_, one)| Some(one.address) == from && one.is_idle());
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        if let Some(one) = self.all.remove(&number) {
            one.task.abort();
        }
        true
    }

    fn idlest(&self) -> Option<IpAddr> {
        let mut idle: HashMap<IpAddr, usize> = HashMap::new();
        self.all.values().filter(|one| one.is_idle()).for_each(|one| *idle.entry(one.address).or_default() += 1);
        idle.into_iter().max_by_key(|(address, count)| (*count, *address)).map(|(address, _)| address)
    }
}

impl One {
    fn is_idle(&self) -> bool {
        !self.has_asked.load(Ordering::Relaxed)
    }
}
