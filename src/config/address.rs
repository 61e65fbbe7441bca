//! Where a broker is.

use std::str::FromStr;

/// A broker's host, port, and whether it is spoken to over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl FromStr for BrokerAddress {
    type Err = &'static str;

    /// From `mqtt://host:port`, `mqtts://host:port`, `host:port` or `host`; the port defaults to 1883, with TLS to 8883.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "mqtt://host:port, mqtts://host:port or host:port";
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtt" | "tcp", rest)) => (false, rest),
            Some(("mqtts" | "ssl" | "tls", rest)) => (true, rest),
            Some(_) => return Err(EXPECTED),
            None => (false, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(v6) => {
                let (host, after) = v6.split_once(']').ok_or(EXPECTED)?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(EXPECTED)?) })
            }
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(EXPECTED)?,
            None if tls => 8883,
            None => 1883,
        };
        let is_host = !host.is_empty() && !host.contains(['/', '@', ' ', '?', '#']);
        if is_host { Ok(Self { host: host.to_owned(), port, tls }) } else { Err(EXPECTED) }
    }
}
