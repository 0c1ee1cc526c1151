"""What a training configuration will need: parameters and memory, told before anything is loaded."""
