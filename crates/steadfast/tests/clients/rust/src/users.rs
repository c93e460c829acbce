//! Users, their passwords, and what they may.

use anyhow::Result;
use etcd_client::{Client, Permission};

use crate::{connect, connect_as, equal, refused};

async fn value(client: &mut Client, key: &str) -> Result<Vec<u8>> {
    Ok(client.get(key, None).await?.kvs().first().map(|kv| kv.value().to_vec()).unwrap_or_default())
}

pub async fn users(address: &str) -> Result<()> {
    let mut plain = connect(&[address]).await?;
    plain.user_add("root", "secret", None).await?;
    plain.user_add("ann", "pass", None).await?;
    refused(
        "a user twice is refused",
        plain.user_add("ann", "x", None).await,
        "FailedPrecondition",
        "etcdserver: user name already exists",
    )?;
    plain.role_add("root").await?;
    plain.role_add("reader").await?;
    plain.role_grant_permission("reader", Permission::read("open/").with_prefix()).await?;
    plain.user_grant_role("root", "root").await?;
    plain.user_grant_role("ann", "reader").await?;
    plain.put("open/1", "1", None).await?;
    plain.auth_enable().await?;

    let mut root = connect_as(address, "root", "secret").await?;
    let mut ann = connect_as(address, "ann", "pass").await?;
    equal("a user reads what is allowed", value(&mut ann, "open/1").await?, b"1".to_vec())?;
    let denied = "etcdserver: permission denied";
    refused("a user's write is refused", ann.put("open/1", "2", None).await, "PermissionDenied", denied)?;
    refused("so is a read elsewhere", ann.get("secret", None).await, "PermissionDenied", denied)?;
    refused("so is what is the administrator's", ann.user_list().await, "PermissionDenied", denied)?;
    refused("so is everything without a user", plain.get("open/1", None).await, "InvalidArgument", "etcdserver: user name is empty")?;
    let failed = "etcdserver: authentication failed, invalid user ID or password";
    refused("so is a wrong password", connect_as(address, "ann", "wrong").await, "InvalidArgument", failed)?;
    equal("the administrator sees all users", root.user_list().await?.users().len(), 2)?;
    root.user_change_password("ann", "new").await?;
    refused("so is an old password", connect_as(address, "ann", "pass").await, "InvalidArgument", failed)?;
    let mut ann = connect_as(address, "ann", "new").await?;
    equal("the new one is good", value(&mut ann, "open/1").await?, b"1".to_vec())?;
    root.auth_disable().await?;
    equal("without users again", value(&mut plain, "open/1").await?, b"1".to_vec())
}
