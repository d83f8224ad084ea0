"""What kind of image a series is, from its texts, its acquisition parameters and the contrast agent."""
