//! The brokers that the configuration names: where reports come from and alerts go to.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::mpsc;

use super::intake::Inlet;
use crate::{
    config::{Config, MqttSource},
    ingest::{Address, Credentials, Decoder, Incoming, IngestError, Publisher, Source, SourceSettings, TlsSettings},
    notify::{SendError, Sink},
};

/// Everything that a connection needs.
pub struct Login {
    pub address: Address,
    credentials: Option<Credentials>,
    tls: Option<TlsSettings>,
}

/// The secret that the first line of a file is; `None` where no file is set.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn first_line(key: &str, file: &Path) -> anyhow::Result<Option<String>> {
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("{key}: failed to read {}", file.display()))?;
    Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
}

impl Login {
    /// # Errors
    /// When a password file cannot be read, or TLS lacks its authority.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        let broker = config.mqtt_address();
        let mqtt = &config.mqtt;
        let password = first_line("mqtt.password_file", &mqtt.password_file)?.unwrap_or_else(|| mqtt.password.clone());
        let credentials = (!mqtt.username.is_empty()).then(|| Credentials { user: mqtt.username.clone(), password });
        let tls = if broker.tls {
            ensure!(
                is_set(&mqtt.ca_file),
                "mqtt.ca_file: found none, expected the PEM file of the authority to trust with mqtts://"
            );
            Some(TlsSettings { ca: mqtt.ca_file.clone(), certificate: set(&mqtt.cert_file), key: set(&mqtt.key_file) })
        } else {
            None
        };
        Ok(Self { address: Address { host: broker.host, port: broker.port }, credentials, tls })
    }

    /// The client that publishes.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn publisher(&self, client_id: &str) -> Result<Publisher, IngestError> {
        Publisher::start(client_id, &self.address, self.credentials.as_ref(), self.tls.as_ref())
    }

    /// The subscriptions: the native topics, and what else is configured.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn inlets(&self, config: &Config) -> anyhow::Result<Vec<(Inlet, mpsc::Receiver<Incoming>)>> {
        let mqtt = &config.mqtt;
        let native = MqttSource { topic: format!("{}/#", mqtt.prefix), datum: mqtt.datum, ..MqttSource::default() };
        std::iter::once(&native)
            .chain(&mqtt.sources)
            .enumerate()
            .map(|(index, source)| self.inlet(config, index, source))
            .collect()
    }

    fn inlet(
        &self,
        config: &Config,
        index: usize,
        source: &MqttSource,
    ) -> anyhow::Result<(Inlet, mpsc::Receiver<Incoming>)> {
        let mqtt = &config.mqtt;
        let topic = source.topic();
        let prefix = topic.strip_suffix("/#").with_context(|| {
            format!("mqtt.sources: topic: found {topic:?}, expected the prefix of its topics followed by /#")
        })?;
        let decoder = Decoder::new(source.format, prefix, source.datum).with_utc_offset(source.utc_offset_h);
        let settings = SourceSettings {
            address: self.address.clone(),
            client_id: if index == 0 { mqtt.client_id.clone() } else { format!("{}-source-{index}", mqtt.client_id) },
            credentials: self.credentials.clone(),
            tls: self.tls.clone(),
            filters: decoder.filters(),
            wide: decoder.wide_filter().filter(|_| index == 0),
            connections: u16::try_from(mqtt.connections).unwrap_or(u16::MAX),
            group: mqtt.group.clone(),
        };
        let (source_end, messages) = Source::start(&settings)?;
        Ok((Inlet { source: source_end, decoder }, messages))
    }
}

fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

fn set(path: &Path) -> Option<PathBuf> {
    is_set(path).then(|| path.to_owned())
}

/// Where the embedded broker listens when it was asked for on the command line: where `mqtt` looks for it.
pub fn listen_address(config: &Config) -> String {
    let broker = config.mqtt_address();
    let host = if broker.host == "localhost" { "127.0.0.1".to_owned() } else { broker.host };
    format!("{host}:{}", broker.port)
}

/// The way out by MQTT.
pub struct MqttSink(pub Publisher);

impl Sink for MqttSink {
    type Receipt = BoxFuture<'static, Result<(), SendError>>;

    async fn send(&self, topic: &str, payload: &[u8]) -> Result<Self::Receipt, SendError> {
        let receipt = self.0.hand_over(topic, payload).await.map_err(send_error)?;
        Ok(async move { receipt.settled().await.map_err(send_error) }.boxed())
    }
}

fn send_error(error: IngestError) -> SendError {
    match error {
        IngestError::Refused { .. } => SendError::Refused(error.to_string()),
        other => SendError::TryAgain(other.to_string()),
    }
}
