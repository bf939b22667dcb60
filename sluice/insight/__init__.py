"""What logs teach: reading and rendering what the store keeps."""
