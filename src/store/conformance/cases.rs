//! The list of cases, made from the one in [`store_conformance!`](crate::store_conformance).

use super::Case;

mod bodies {
    pub(super) use super::super::feed::*;
    pub(super) use super::super::identity::*;
    pub(super) use super::super::log::*;
    pub(super) use super::super::rows::*;
    pub(super) use super::super::sending::*;
    pub(super) use super::super::whole::*;
}

crate::store_conformance! { @list constants }
