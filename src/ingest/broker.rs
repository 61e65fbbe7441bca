//! A broker in the process, for trying things out and for tests.
//!
//! It keeps nothing on disk: sessions and waiting messages are gone when the process ends. It knows no users and no TLS.
//! Whoever needs those runs a broker of their own.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    thread,
};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

use super::IngestError;
use crate::model::limits;

/// A running broker. It can't be stopped: its threads live as long as the process, whatever becomes of this handle.
#[derive(Debug)]
pub struct EmbeddedBroker {
    listen: SocketAddr,
}

impl EmbeddedBroker {
    /// Starts it in threads of its own. MQTT 3.1.1 over TCP. Connections are taken some milliseconds after this returns.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub fn start(listen: SocketAddr) -> Result<Self, IngestError> {
        let failed = |problem: String| IngestError::Broker { listen, problem };
        // The broker would only log it. Port 0 becomes a free port here.
        let bound = TcpListener::bind(listen).and_then(|listener| listener.local_addr());
        let listen = bound.map_err(|error| failed(error.to_string()))?;
        let mut broker = Broker::new(config(listen));
        let run = move || {
            if let Err(error) = broker.start() {
                tracing::error!(%error, "the embedded broker ended");
            }
        };
        thread::Builder::new().name("broker".to_owned()).spawn(run).map_err(|error| failed(error.to_string()))?;
        Ok(Self { listen })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }
}

fn config(listen: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        // A little over what is read, so that too large a payload still becomes a dead letter.
        max_payload_size: limits::PAYLOAD_BYTES * 4,
        max_inflight_count: 200,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings { name: "v4".to_owned(), listen, tls: None, next_connection_delay_ms: 1, connections };
    let router = RouterConfig {
        max_connections: 20_000,
        max_outgoing_packet_count: 1_000,
        max_segment_size: 64 << 20,
        max_segment_count: 8,
        ..RouterConfig::default()
    };
    Config { id: 0, router, v4: Some(HashMap::from([("1".to_owned(), server)])), ..Config::default() }
}
