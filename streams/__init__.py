"""What happens: clicks in, recommendations out."""
