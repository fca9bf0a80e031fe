"""The whole product at work in about a minute: Kafka, shoppers, a worker, a trainer, and a view of them."""
