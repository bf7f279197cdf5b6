//! A small form of the large mesh: large enough for copysets and for news that are passed on.

use simulation::large::{Size, run};

#[test]
fn sixty_nodes_form_grow_shrink_and_restart() {
    let size = Size { nodes: 60, partitions: 2_000, seed: 1 };
    let mut told = String::new();
    let passed = run(size, &mut |row| told.push_str(&row.to_string()));
    println!("{told}");
    assert!(passed, "a phase did not converge:\n{told}");
}

#[test]
fn the_same_seed_costs_the_same() {
    let size = Size { nodes: 40, partitions: 200, seed: 7 };
    let told = || {
        let mut told = String::new();
        run(size, &mut |row| told.push_str(&row.to_string()));
        told
    };
    assert_eq!(told(), told());
}
