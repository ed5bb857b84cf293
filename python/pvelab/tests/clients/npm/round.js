// One round with proxmox-api: create, change, snapshot and remove a container; prints what it saw as JSON.
// The certificate is checked against NODE_EXTRA_CA_CERTS.
import proxmoxApi from "proxmox-api";

const { ROUND_PORT, ROUND_VMID, ROUND_TOKEN, ROUND_SECRET, ROUND_PASSWORD, ROUND_TEMPLATE, ROUND_STORAGE } = process.env;
const proof = ROUND_TOKEN
  ? { tokenID: `root@pam!${ROUND_TOKEN}`, tokenSecret: ROUND_SECRET }
  : { username: "root@pam", password: ROUND_PASSWORD };
const proxmox = proxmoxApi({ host: "127.0.0.1", port: Number(ROUND_PORT), ...proof });
const node = proxmox.nodes.$("pve");
const vmid = Number(ROUND_VMID);

async function finish(upid) {
  for (let tries = 0; tries < 1000; tries++) {
    const task = await node.tasks.$(upid).status.$get();
    if (task.status === "stopped") {
      if (task.exitstatus !== "OK") throw Error(`${upid} ended with ${task.exitstatus}`);
      return;
    }
    await new Promise((wake) => setTimeout(wake, 20));
  }
  throw Error(`${upid} did not end`);
}

const names = async () => (await node.lxc.$(vmid).snapshot.$get()).map((item) => item.name);

const found = { version: (await proxmox.version.$get()).version };
await finish(await node.lxc.$post({
  vmid, ostemplate: ROUND_TEMPLATE, rootfs: `${ROUND_STORAGE}:1`, unprivileged: true,
}));
const container = node.lxc.$(vmid);
await container.config.$put({ memory: 1024 });
found.memory = (await container.config.$get()).memory;
await finish(await container.snapshot.$post({ snapname: "before" }));
found.snapshots = await names();
await finish(await container.snapshot.$("before").$delete());
found.left = await names();
await finish(await container.$delete({ purge: true }));
found.gone = await container.status.current.$get().then(() => "", (error) => error.message);
console.log(JSON.stringify(found));
