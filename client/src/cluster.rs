//! The cluster as its nodes see it.

use quorate_proto::v1;
use quorate_proto::v1::cluster_client::ClusterClient;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::client::Client;
use crate::connect::MESSAGE_BYTES_MAX;
use crate::error::Error;

/// Questions about the cluster; any node may answer them.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl Cluster {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Who the members are and who leads, as one node knows it.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if no endpoint answers within the client's timeout.
    pub async fn members(&self) -> Result<v1::MembersResponse, Error> {
        let deadline = Instant::now() + self.client.timeout;
        let ask =
            |channel| async move { Ok(grpc(channel).members(v1::MembersRequest {}).await?.into_inner()) };
        self.client.router.call_any(deadline, ask).await
    }

    /// Every replica's own account; one that did not answer is listed as unreachable.
    ///
    /// # Errors
    /// [`Error::NoLeader`] if no endpoint answers within the client's timeout.
    pub async fn status(&self) -> Result<Vec<v1::ReplicaStatus>, Error> {
        let deadline = Instant::now() + self.client.timeout;
        let ask = |channel| async move {
            Ok(grpc(channel).status(v1::StatusRequest {}).await?.into_inner().replicas)
        };
        self.client.router.call_any(deadline, ask).await
    }
}

fn grpc(channel: Channel) -> ClusterClient<Channel> {
    ClusterClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}
