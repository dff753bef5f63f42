//! Listening sockets: one per worker and address, kept over reloads.

pub(crate) mod tls;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;

use certstore::{Challenges, ClientTrust};
use socket2::{Domain, Protocol, Socket, Type};

use self::tls::ListenerTls;
use crate::settings;

/// Connections that the kernel keeps for us until a worker accepts them.
const BACKLOG: i32 = 4096;

/// A bound address with everything a new connection on it needs.
pub(crate) struct BoundListener {
    pub(crate) settings: settings::Listener,
    /// The address that was really bound; differs from the setting where the port was 0.
    pub(crate) local: SocketAddr,
    /// Answers for a CA.
    pub(crate) challenges: Challenges,
    /// `None` for plaintext.
    pub(crate) tls: Option<ListenerTls>,
    /// One `SO_REUSEPORT` socket per worker. They stay open as long as a snapshot names the
    /// listener, because closing one throws away the connections waiting in it.
    sockets: Vec<TcpListener>,
}

/// A listener could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address could not be bound.
    #[error("listener `{listener}` cannot listen on {address}: {}", explain(source))]
    Address {
        /// Its name in the configuration.
        listener: String,
        /// The address that it wanted.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// TLS could not be set up.
    #[error("listener `{listener}`: TLS cannot be set up")]
    Tls {
        /// Its name in the configuration.
        listener: String,
        /// The reason.
        source: rustls::Error,
    },
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there; stop it or choose another port".into(),
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE, or choose a higher port".into()
        }
        io::ErrorKind::AddrNotAvailable => "this host has no such address; use [::] for all".into(),
        _ => error.to_string(),
    }
}

impl std::fmt::Debug for BoundListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BoundListener")
            .field("settings", &self.settings)
            .field("local", &self.local)
            .finish()
    }
}

impl BoundListener {
    /// The listener for `wanted`: the very object among the `known` ones where nothing changed, its sockets
    /// and ticket keys where only other settings did, a new one otherwise.
    pub(crate) fn bind_or_keep(
        wanted: &settings::Listener,
        workers: NonZeroUsize,
        certificates: &certstore::Reader,
        known: &[Arc<Self>],
    ) -> Result<Arc<Self>, BindError> {
        if let Some(same) = known.iter().find(|listener| listener.settings == *wanted) {
            return Ok(same.clone());
        }
        let at_address = known
            .iter()
            .find(|listener| listener.settings.address == wanted.address);
        let sockets = match at_address {
            Some(listener) => listener.clone_sockets(),
            None => bind_all(wanted.address, workers),
        };
        let (local, sockets) = sockets.map_err(|source| BindError::Address {
            listener: wanted.name.clone(),
            address: wanted.address,
            source,
        })?;
        let tls_error = |source| BindError::Tls {
            listener: wanted.name.clone(),
            source,
        };
        let of_this_name = known
            .iter()
            .find(|listener| listener.settings.name == wanted.name);
        let before = of_this_name.and_then(|listener| listener.tls.as_ref());
        let tls = wanted
            .tls()
            .map(|tls| ListenerTls::new(tls, certificates, before).map_err(tls_error))
            .transpose()?;
        Ok(Arc::new(Self {
            settings: wanted.clone(),
            local,
            challenges: certificates.challenges().clone(),
            tls,
            sockets,
        }))
    }

    /// Whom its clients' certificates must lead to.
    pub(crate) fn client_trust(&self) -> Option<&ClientTrust> {
        self.tls.as_ref()?.client_trust.as_ref()
    }

    /// The socket of one worker, as a handle of its own.
    pub(crate) fn socket(&self, worker: usize) -> io::Result<TcpListener> {
        self.sockets
            .get(worker)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?
            .try_clone()
    }

    fn clone_sockets(&self) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
        let sockets = self
            .sockets
            .iter()
            .map(TcpListener::try_clone)
            .collect::<io::Result<_>>()?;
        Ok((self.local, sockets))
    }
}

fn bind_all(address: SocketAddr, workers: NonZeroUsize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // SO_REUSEPORT would let a second process of the same user share the port in silence. A socket
    // without it cannot be bound beside anybody, so it asks first.
    let probe = socket(address, false)?;
    probe.bind(&address.into())?;
    drop(probe);
    let first = listen(address)?;
    let local = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers.get() {
        sockets.push(listen(local)?);
    }
    Ok((local, sockets))
}

fn socket(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
