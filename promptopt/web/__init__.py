"""Web: pages in a browser; they see the store and the nouns only, and no model or study."""
