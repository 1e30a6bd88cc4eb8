//! Sign-in providers.

use std::sync::Arc;

use callkit_core::auth::{AuthProvider, Principal, StaffRole};
use callkit_core::id::AgentId;
use callkit_core::memory::MemoryAuth;
use callkit_core::redact::{Private, Secret};
use callkit_server::adapter::auth_static::{PasswordHash, StaticAuth};
use callkit_server::config::{Role, StaffConfig, UserConfig};

use crate::block_on;

const USER: &str = "irina";
const PASSWORD: &str = "correct horse";

mod static_auth {
    use super::*;

    fn provider() -> Arc<dyn AuthProvider> {
        let hash = PasswordHash::of(&Secret::new(PASSWORD.to_owned())).unwrap();
        let irina = UserConfig {
            id: AgentId::new(USER).unwrap(),
            name: Private::new("Irina".to_owned()),
            role: Role::Operator,
            queues: Vec::new(),
            password_hash: Secret::new(hash.expose().to_owned()),
        };
        Arc::new(StaticAuth::new(&StaffConfig { users: vec![irina] }).unwrap())
    }

    callkit_core::auth_provider_conformance!(
        block_on = block_on,
        || async { provider() },
        user = USER,
        password = PASSWORD
    );
}

mod memory {
    use super::*;

    fn provider() -> Arc<dyn AuthProvider> {
        let irina = Principal::Staff {
            id: AgentId::new(USER).unwrap(),
            name: Private::new("Irina".to_owned()),
            role: StaffRole::Operator,
        };
        Arc::new(MemoryAuth::default().with_user(USER, PASSWORD, irina))
    }

    callkit_core::auth_provider_conformance!(|| async { provider() }, user = USER, password = PASSWORD);
}
