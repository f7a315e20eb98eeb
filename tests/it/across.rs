//! Deploys across hosts: an operator, nodes as processes of their own, a broker between them.

mod permissions;
