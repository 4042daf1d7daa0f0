"""What is fought over: real tasks that can be stated without a word about interpretability."""
