"""What judges photographs: critics that train and judges that do not."""
