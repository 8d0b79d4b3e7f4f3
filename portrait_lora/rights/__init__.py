"""What one may do: consent of the person, licences of models, and signed credentials of pictures."""
