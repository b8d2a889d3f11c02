//! What the owner of an account does with it.

use xmppkit::client::State;
use xmppkit::error::{AuthError, ErrorKind, RegisterError};
use xmppkit::prelude::*;

use super::{Outcome, TOO_FEW, accounts, client};
use crate::support::{Account, Failure, ServerUnderTest};

async fn logs_in(server: &ServerUnderTest, account: &Account, password: &str) -> Result<bool, Failure> {
    let client = client(server, account)?.password(password).build().await?;
    let result = client.connect().await;
    client.close().await;
    match result {
        Ok(()) => Ok(true),
        Err(error) if *error.kind() == ErrorKind::Auth(AuthError::NotAuthorized) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn a_password_is_changed(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    let Some([account]) = accounts(server).await? else { return TOO_FEW };
    let romeo = client(server, &account)?.build().await?;
    romeo.connect().await?;
    let new = "a <new> & better pässword";
    match romeo.change_password(new).await {
        // Accounts that are given may be kept from it.
        Err(error) if !server.registers() && matches!(error.kind(), ErrorKind::Register(RegisterError::NotAllowed)) => {
            return Ok(Outcome::Skipped("the server lets nobody change a password"));
        }
        result => result?,
    }
    assert!(romeo.state().is_online());
    assert!(!logs_in(server, &account, &account.password).await? && logs_in(server, &account, new).await?);
    romeo.close().await;
    romeo.connect().await?;
    romeo.change_password(account.password.as_str()).await?;
    romeo.close().await;
    assert!(logs_in(server, &account, &account.password).await?);
    Ok(Outcome::Passed)
}

pub(super) async fn a_deleted_account_is_gone(server: &ServerUnderTest) -> Result<Outcome, Failure> {
    if !server.registers() {
        return Ok(Outcome::Skipped("accounts are given, not registered"));
    }
    let account = server.fresh_account();
    let romeo = client(server, &account)?.build().await?;
    romeo.register().await?;
    romeo.delete_account().await?;
    let State::Failed(error) = romeo.state() else { return Err(format!("{:?}", romeo.state()).into()) };
    assert_eq!(error.kind(), &ErrorKind::AccountDeleted, "{error}");
    assert!(!logs_in(server, &account, &account.password).await?);
    // The name is free again, unless the server remembers whose it was.
    match romeo.register().await {
        Ok(()) => romeo.delete_account().await?,
        Err(error) => assert_eq!(error.kind(), &ErrorKind::Register(RegisterError::Conflict), "{error}"),
    }
    Ok(Outcome::Passed)
}
