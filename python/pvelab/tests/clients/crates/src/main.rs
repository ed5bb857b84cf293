//! One round with proxmox-api: create, change, snapshot and remove a VM; prints what it saw as JSON.

use std::{env, error::Error, fmt::Debug, fs, time::Duration};

use proxmox_api::nodes::node::{qemu, NodeClient};
use proxmox_api::nodes::NodesClient;
use proxmox_api::types::bounded_integer::BoundedInteger;
use proxmox_api::types::bounded_string::BoundedString;
use proxmox_api::types::VmId;
use proxmox_api::version::VersionClient;
use proxmox_api::ReqwestClient;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Node = NodeClient<ReqwestClient>;

fn given(name: &str) -> String {
    env::var(format!("ROUND_{name}")).unwrap_or_default()
}

fn said<T, E: Debug>(answer: std::result::Result<T, E>) -> Result<T> {
    answer.map_err(|error| format!("{error:?}").into())
}

async fn connect() -> Result<ReqwestClient> {
    let trust = reqwest::Certificate::from_pem(&fs::read(given("CA"))?)?;
    let http = reqwest::Client::builder().tls_certs_only([trust]).build()?;
    let client = ReqwestClient::new(&format!("https://127.0.0.1:{}", given("PORT")), "root", "pam", Some(http));
    if given("TOKEN").is_empty() {
        return said(client.with_login(&given("PASSWORD")).await);
    }
    Ok(client.with_api_token(&given("TOKEN"), &given("SECRET")))
}

async fn finish(node: &Node, upid: String) -> Result<()> {
    for _ in 0..1000 {
        let task = said(node.tasks().upid(&upid).status().get().await)?;
        match task.exitstatus.as_deref() {
            Some("OK") => return Ok(()),
            Some(other) => return Err(format!("{upid} ended with {other}").into()),
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    Err(format!("{upid} did not end").into())
}

async fn names(machine: &qemu::vmid::VmidClient<ReqwestClient>) -> Result<Vec<String>> {
    Ok(said(machine.snapshot().get().await)?.into_iter().map(|item| item.name).collect())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = connect().await?;
    let version = said(VersionClient::new(client.clone()).get().await)?.version;
    let node: Node = NodesClient::new(client).node("pve");
    let number: i128 = given("VMID").parse()?;

    let mut wanted = qemu::PostParams::new(said(BoundedInteger::new(number))?);
    wanted.memory = Some("512".into());
    wanted.scsis.insert(0, format!("{}:1", given("STORAGE")));
    finish(&node, said(node.qemu().post(wanted).await)?).await?;

    let machine = node.qemu().vmid(said(VmId::new(number))?);
    let change = qemu::vmid::config::PostParams { memory: Some("1024".into()), ..Default::default() };
    if let Some(upid) = said(machine.config().post(change).await)? {
        finish(&node, upid).await?;
    }
    let memory: u32 = said(machine.config().get(Default::default()).await)?.memory.unwrap_or_default().parse()?;

    let name = said(BoundedString::new("before".into()))?;
    finish(&node, said(machine.snapshot().post(qemu::vmid::snapshot::PostParams::new(name)).await)?).await?;
    let snapshots = names(&machine).await?;
    finish(&node, said(machine.snapshot().snapname("before").delete(Default::default()).await)?).await?;
    let left = names(&machine).await?;

    finish(&node, said(machine.delete(Default::default()).await)?).await?;
    let gone = machine.config().get(Default::default()).await.err().map(|error| error.to_string());
    let seen = serde_json::json!({
        "version": version, "memory": memory, "snapshots": snapshots, "left": left, "gone": gone.unwrap_or_default(),
    });
    println!("{seen}");
    Ok(())
}
