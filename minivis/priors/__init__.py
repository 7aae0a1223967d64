"""What a picture is assumed to be like before any network is asked."""
