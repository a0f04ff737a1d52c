//! The client and how it is built.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::cluster::Cluster;
use crate::codec::{Json, Protobuf, Raw};
use crate::connect::{Address, Connector, TcpConnector};
use crate::error::Error;
use crate::leader::Router;
use crate::queue::Queue;
use crate::queues::Queues;
use crate::random::{Random, SystemRandom};
use crate::state::State;
use crate::subscriptions::Subscriptions;
use crate::trace::{ScopeTracer, Tracer};
use crate::transaction::{Session, Transaction};

/// A handle to a cluster. Cheap to clone; connects when it is first used.
///
/// ```no_run
/// # use quorate_client::{Client, Error};
/// # async fn example() -> Result<(), Error> {
/// let client = Client::from_env()?;
/// let orders = client.queue::<String>("orders"); // asks nobody
/// println!("{} members", client.cluster().members().await?.members.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) router: Arc<Router>,
    pub(crate) namespace: Arc<str>,
    pub(crate) timeout: Duration,
    /// Under which transactions are carried out once.
    pub(crate) session: Arc<Session>,
    pub(crate) tracer: Arc<dyn Tracer>,
}

impl Client {
    /// Starts building a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            endpoints: vec!["http://127.0.0.1:7400".into()],
            namespace: "default".into(),
            timeout: Duration::from_secs(30),
            connector: Arc::new(TcpConnector),
            random: Arc::new(SystemRandom),
            tracer: Arc::new(ScopeTracer),
        }
    }

    /// A client of the cluster that the environment names, as the `quorate` command reads it: `QUORATE_ENDPOINT` has the endpoints, with commas between
    /// them. Default `http://127.0.0.1:7400`.
    ///
    /// # Errors
    /// As [`ClientBuilder::build`].
    pub fn from_env() -> Result<Self, Error> {
        match std::env::var("QUORATE_ENDPOINT") {
            Ok(endpoints) => Self::builder().endpoints(endpoints.split(',').map(str::trim)).build(),
            Err(std::env::VarError::NotPresent) => Self::builder().build(),
            Err(error) => Err(Error::Config(format!("QUORATE_ENDPOINT: {error}"))),
        }
    }

    /// A queue whose bodies are values of `T` in JSON.
    pub fn queue<T>(&self, name: impl Into<String>) -> Queue<T, Json> {
        self.queue_with(name, Json)
    }

    /// A queue whose bodies are messages of Protocol Buffers, as prost makes them.
    pub fn protobuf_queue<T>(&self, name: impl Into<String>) -> Queue<T, Protobuf> {
        self.queue_with(name, Protobuf)
    }

    /// A queue whose bodies are bytes.
    pub fn raw_queue(&self, name: impl Into<String>) -> Queue<Bytes, Raw> {
        self.queue_with(name, Raw)
    }

    /// A queue whose bodies are values of `T` in an encoding of your own.
    pub fn queue_with<T, C>(&self, name: impl Into<String>, codec: C) -> Queue<T, C> {
        Queue::new(self.clone(), name.into(), codec)
    }

    /// Creating, listing and looking into queues.
    pub fn queues(&self) -> Queues {
        Queues::new(self.clone())
    }

    /// Creating, changing, moving and listing the subscriptions of a queue.
    pub fn subscriptions(&self, queue: impl Into<String>) -> Subscriptions {
        Subscriptions::new(self.clone(), queue.into())
    }

    /// The keyed state of the namespace.
    pub fn state(&self) -> State {
        State::new(self.clone())
    }

    /// Begins to collect a transaction.
    pub fn transaction(&self) -> Transaction {
        Transaction::new(self.clone())
    }

    /// The cluster's members and their state.
    pub fn cluster(&self) -> Cluster {
        Cluster::new(self.clone())
    }

    /// The same client with another time for each call, looking for the leader included; at least 1 ms.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout: timeout.max(Duration::from_millis(1)), ..self.clone() }
    }

    /// How long a call may take, looking for the leader included.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// Settings of a [`Client`].
///
/// ```no_run
/// # use std::time::Duration;
/// # use quorate_client::{Client, Error};
/// # async fn example() -> Result<(), Error> {
/// let client = Client::builder()
///     .endpoints(["http://10.0.0.1:7400", "http://10.0.0.2:7400"]) // any of them leads to the others
///     .timeout(Duration::from_secs(10))
///     .build()?;
/// let hasty = client.with_timeout(Duration::from_millis(500)); // for a call that must not wait
/// # Ok(())
/// # }
/// ```
pub struct ClientBuilder {
    endpoints: Vec<String>,
    namespace: String,
    timeout: Duration,
    connector: Arc<dyn Connector>,
    random: Arc<dyn Random>,
    tracer: Arc<dyn Tracer>,
}

impl ClientBuilder {
    /// Any nodes of the cluster, as `http://host:port`; the client finds the leader and the other members.
    /// Default `http://127.0.0.1:7400`.
    #[must_use]
    pub fn endpoints(mut self, endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.endpoints = endpoints.into_iter().map(Into::into).collect();
        self
    }

    /// The namespace of everything that this client does. Default `default`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How long a call may take, looking for the leader included. Default 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How connections are made. Default [`TcpConnector`].
    #[must_use]
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.connector = Arc::new(connector);
        self
    }

    /// Where session names and jitter come from. Default [`SystemRandom`].
    #[must_use]
    pub fn random(mut self, random: impl Random) -> Self {
        self.random = Arc::new(random);
        self
    }

    /// Which trace messages belong to. Default [`ScopeTracer`].
    #[must_use]
    pub fn tracer(mut self, tracer: impl Tracer) -> Self {
        self.tracer = Arc::new(tracer);
        self
    }

    /// Builds the client. Connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`] if an endpoint cannot be read, or there is none, or the timeout is zero.
    pub fn build(self) -> Result<Client, Error> {
        let mut addresses = Vec::with_capacity(self.endpoints.len());
        for endpoint in &self.endpoints {
            let address = Address::parse(endpoint)?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(Error::Config("a client needs at least one endpoint".into()));
        }
        if self.timeout.is_zero() {
            return Err(Error::Config("a timeout of zero allows no call".into()));
        }
        Ok(Client {
            router: Arc::new(Router::new(addresses, self.connector, self.random)),
            namespace: self.namespace.into(),
            timeout: self.timeout,
            session: Arc::default(),
            tracer: self.tracer,
        })
    }
}
