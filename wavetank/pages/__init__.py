"""Pages: one self-contained HTML file per result, which works offline: inline SVG, nothing loaded from elsewhere."""
