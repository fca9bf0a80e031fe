"""What the worker is measured against: plain Faust apps, each as good as its description allows."""
