fn main() {
    peers::run();
}
